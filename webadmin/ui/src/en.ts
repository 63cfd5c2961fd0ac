// SPDX-License-Identifier: Apache-2.0
export const en = {
	"title": "Granary",
};
