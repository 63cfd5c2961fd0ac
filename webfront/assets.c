/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "webfront/webfront.h"

/* The browser application, compiled in: webfront/assets.inc is written by the build of
 * webadmin/ui and holds one ASSET(symbol, path, type, file, immutable) per file. */

#define ASSET(symbol, path, type, file, immutable)                                                 \
	__asm__(".section .rodata\n"                                                               \
		".globl asset_" #symbol "\n"                                                       \
		"asset_" #symbol ":\n"                                                             \
		".incbin \"" file "\"\n"                                                           \
		".globl asset_" #symbol "_end\n"                                                   \
		"asset_" #symbol "_end:\n"                                                         \
		".byte 0\n"                                                                        \
		".previous\n");                                                                    \
	extern const unsigned char asset_##symbol[], asset_##symbol##_end[];
#include "webfront/assets.inc"
#undef ASSET

#define ASSET(symbol, path, type, file, immutable)                                                 \
	{path, type, asset_##symbol, asset_##symbol##_end, immutable},
static const struct {
	const char *path, *type;
	const unsigned char *data, *end;
	bool immutable;
} assets[] = {
#include "webfront/assets.inc"
};
#undef ASSET
#define ASSET_COUNT (sizeof assets / sizeof *assets)

const struct front_asset *front_asset_find(const char *path)
{
	static _Thread_local struct front_asset found;
	size_t length = strcspn(path, "?");

	for (unsigned i = 0; i < ASSET_COUNT; i++) {
		if (strlen(assets[i].path) != length || memcmp(assets[i].path, path, length) != 0)
			continue;
		found = (struct front_asset){assets[i].path, assets[i].type, assets[i].data,
					     (size_t)(assets[i].end - assets[i].data),
					     assets[i].immutable};
		return &found;
	}
	return NULL;
}
