/* SPDX-License-Identifier: Apache-2.0 */
/* pr_note.c: a unit's persistent reservations as the bytes of a volume's note, which other gateways
 * read. Big-endian:
 *   0  4  "GRPR"
 *   4  1  version, 1
 *   5  1  type of the reservation
 *   6  1  APTPL
 *   7  1  0
 *   8  4  PRGENERATION
 *  12  4  how many registrations follow
 * a registration:
 *   0  8  key
 *   8  2  relative port
 *  10  1  holder
 *  11  1  0
 *  12  2  length of the initiator port's name, without a NUL
 *  14  2  of the target's, behind it */
#include <errno.h>
#include <string.h>

#include "core/heap.h"
#include "target/internal.h"
#include "target/wire.h"

#define HEAD    16u
#define ENTRY   16u
#define VERSION 1

static const uint8_t magic[4] = {'G', 'R', 'P', 'R'};

static size_t entry_length(const struct pr_registration *entry)
{
	return ENTRY + strlen(entry->identity.initiator_port) + strlen(entry->identity.target);
}

static uint8_t *put_entry(uint8_t *p, const struct pr_registration *entry)
{
	size_t port = strlen(entry->identity.initiator_port);
	size_t target = strlen(entry->identity.target);

	put_be64(p, entry->key);
	put_be16(p + 8, entry->identity.relative_port);
	p[10] = entry->holder;
	p[11] = 0;
	put_be16(p + 12, (uint16_t)port);
	put_be16(p + 14, (uint16_t)target);
	memcpy(p + ENTRY, entry->identity.initiator_port, port);
	memcpy(p + ENTRY + port, entry->identity.target, target);
	return p + ENTRY + port + target;
}

int pr_note_encode(const struct pr_state *state, uint8_t **ret_data, size_t *ret_length)
{
	size_t length = HEAD;
	uint32_t count = 0;
	uint8_t *data, *p;

	for (unsigned i = 0; i < state->count; i++)
		if (!state->list[i].removed) {
			length += entry_length(&state->list[i]);
			count++;
		}
	data = heap_zalloc(length);
	if (!data)
		return -ENOMEM;
	memcpy(data, magic, sizeof(magic));
	data[4] = VERSION;
	data[5] = (uint8_t)state->type;
	data[6] = state->aptpl;
	put_be32(data + 8, state->generation);
	put_be32(data + 12, count);
	p = data + HEAD;
	for (unsigned i = 0; i < state->count; i++)
		if (!state->list[i].removed)
			p = put_entry(p, &state->list[i]);
	*ret_data = data;
	*ret_length = length;
	return 0;
}

/* A name of @length bytes at @p; false: it is none. */
static bool read_name(const uint8_t *p, size_t length, char *ret_name, size_t size)
{
	if (length == 0 || length >= size || memchr(p, 0, length))
		return false;
	memcpy(ret_name, p, length);
	ret_name[length] = '\0';
	return true;
}

/* The bytes it took, 0 for nonsense. */
static size_t read_entry(const uint8_t *p, size_t room, struct pr_state *state)
{
	struct pr_identity identity = {0};
	struct pr_registration *entry;
	size_t port, target;

	if (room < ENTRY)
		return 0;
	port = get_be16(p + 12);
	target = get_be16(p + 14);
	if (room < ENTRY + port + target || get_be64(p) == 0 || p[10] > 1 ||
	    !read_name(p + ENTRY, port, identity.initiator_port, sizeof(identity.initiator_port)) ||
	    !read_name(p + ENTRY + port, target, identity.target, sizeof(identity.target)))
		return 0;
	identity.relative_port = get_be16(p + 8);
	if (pr_state_find(state, &identity))
		return 0;
	entry = pr_state_add(state, &identity, get_be64(p));
	if (!entry)
		return 0;
	entry->holder = p[10];
	return ENTRY + port + target;
}

int pr_note_decode(const uint8_t *data, size_t length, struct pr_state *ret_state)
{
	struct pr_state state = {0};
	size_t at = HEAD;
	uint32_t count;

	if (length < HEAD || memcmp(data, magic, sizeof(magic)) != 0 || data[4] != VERSION ||
	    (data[5] != PR_NONE && !pr_type_known(data[5])) || data[6] > 1)
		return -EPROTO;
	state.type = (enum pr_type)data[5];
	state.aptpl = data[6];
	state.generation = get_be32(data + 8);
	count = get_be32(data + 12);
	if (count > SCSI_REGISTRATIONS_MAX || (state.type && count == 0))
		return -EPROTO;
	for (uint32_t i = 0; i < count; i++) {
		size_t step = read_entry(data + at, length - at, &state);

		if (step == 0) {
			pr_state_finish(&state);
			return -EPROTO;
		}
		at += step;
	}
	*ret_state = state;
	return 0;
}
