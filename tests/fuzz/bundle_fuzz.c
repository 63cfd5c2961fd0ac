/* SPDX-License-Identifier: Apache-2.0 */
/* What comes with an update before it is trusted: head and manifest; and grubenv, which a boot
 * loader writes. What is parsed comes back the same from its own format. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/bundle.h"
#include "appliance/grubenv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void grubenv(const uint8_t *data, size_t size)
{
	char block[GRUBENV_SIZE];
	struct grubenv env, again;

	memset(block, '#', sizeof block);
	memcpy(block, data, size < sizeof block ? size : sizeof block);
	if (grubenv_parse(block, &env, NULL) < 0)
		return;
	grubenv_format(&env, block);
	assert(grubenv_parse(block, &again, NULL) == 0);
	assert(again.slot == env.slot && again.good == env.good && again.tries == env.tries &&
	       again.failed == env.failed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bundle bundle;
	uint32_t length;

	if (size >= BUNDLE_HEAD && bundle_head(data, &length, NULL) == 0) {
		assert(length > 0 && length <= BUNDLE_MANIFEST_MAX);
		if (length <= size - BUNDLE_HEAD &&
		    bundle_parse((const char *)data + BUNDLE_HEAD, length, &bundle, NULL) == 0)
			assert(strlen(bundle.version) < sizeof bundle.version);
	} else if (bundle_parse((const char *)data, size, &bundle, NULL) == 0) {
		assert(bundle.sequence && bundle.files[BUNDLE_ROOT].size);
	}
	grubenv(data, size);
	return 0;
}
