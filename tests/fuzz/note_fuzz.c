/* SPDX-License-Identifier: Apache-2.0 */
/* Persistent reservations as another gateway left them: what decodes encodes to the same bytes. */
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "target/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pr_state state = {0}, second = {0};
	uint8_t *again = NULL;
	size_t length = 0;

	if (pr_note_decode(data, size, &state) < 0)
		return 0;
	if (pr_note_encode(&state, &again, &length) < 0 || length > size)
		abort();
	if (pr_note_decode(again, length, &second) < 0 || second.count != state.count ||
	    second.generation != state.generation || second.type != state.type)
		abort();
	heap_free(again);
	pr_state_finish(&second);
	pr_state_finish(&state);
	return 0;
}
