// SPDX-License-Identifier: Apache-2.0
export const zh = {
	"title": "Granary 粮仓",
	"serves": "服务器正在运行，API 在此提供。",
	"pages": "Web 管理页面尚未完成：请使用 granary 命令或 API。",
	"document": "API 的 OpenAPI 3.1 文档",
};
