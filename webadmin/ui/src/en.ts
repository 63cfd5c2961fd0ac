// SPDX-License-Identifier: Apache-2.0
export const en = {
	"page.what": "This is Granary's API. It has no pages in this version.",
	"page.api": "What it offers, as an OpenAPI document",
	"page.how": "Make the first account with the set-up code (granary setup code), then a token per program.",
};
