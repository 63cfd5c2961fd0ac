// SPDX-License-Identifier: Apache-2.0
export const zh = {
	"page.what": "这里是 Granary 的 API。此版本还没有管理页面。",
	"page.api": "接口说明（OpenAPI 文档）",
	"page.how": "先用设置码（granary setup code）创建第一个帐户，再为每个程序创建令牌。",
};
