// SPDX-License-Identifier: Apache-2.0
export const en = {
	"title": "Granary",
	"serves": "This server is running. Its API answers here.",
	"pages": "The pages of the web admin are not built yet: use the granary command, or the API.",
	"document": "The API as an OpenAPI 3.1 document",
};
