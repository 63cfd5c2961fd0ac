/* SPDX-License-Identifier: Apache-2.0 */
#include "iscsi/pdu.h"

#include <errno.h>

#include "core/crc32c.h"

size_t pdu_header_length(const uint8_t *bhs, bool header_digest)
{
	return PDU_BHS_LENGTH + pdu_ahs_length(bhs) + (header_digest ? PDU_DIGEST_LENGTH : 0);
}

bool pdu_header_digest_ok(const uint8_t *header)
{
	size_t covered = PDU_BHS_LENGTH + pdu_ahs_length(header);

	return crc32c(0, header, covered) == pdu_get_digest(header + covered);
}

void pdu_put_digest(uint8_t at[4], uint32_t crc)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (uint8_t)(crc >> (8 * i));
}

uint32_t pdu_get_digest(const uint8_t at[4])
{
	return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

uint32_t pdu_data_digest(const struct iovec *iov, unsigned count, uint32_t length)
{
	static const uint8_t zeros[3];
	uint32_t crc = crc32c_iov(0, iov, count);

	return crc32c(crc, zeros, pdu_padding(length));
}

int pdu_ahs_next(const uint8_t *ahs, size_t length, size_t *at, struct pdu_ahs *ret_ahs)
{
	size_t left = length - *at, own;

	if (left == 0)
		return 0;
	if (left < 4)
		return -EINVAL;
	/* AHSLength counts the type-specific byte but neither itself, the type nor padding. */
	own = pdu_get16(ahs + *at);
	if (own < 1 || own + 3 > left)
		return -EINVAL;
	*ret_ahs = (struct pdu_ahs){
	    .type = ahs[*at + 2],
	    .data = ahs + *at + 4,
	    .length = own - 1,
	};
	*at += (own + 3 + 3) & ~(size_t)3;
	if (*at > length)
		*at = length;
	return 1;
}

void pdu_window_init(struct pdu_window *window, uint32_t first, uint32_t depth)
{
	window->expected = first;
	window->maximum = first + depth - 1;
}

enum pdu_window_place pdu_window_place(const struct pdu_window *window, uint32_t cmdsn)
{
	if (cmdsn == window->expected && !pdu_sn_before(window->maximum, cmdsn))
		return PDU_WINDOW_NEXT;
	if (pdu_sn_before(cmdsn, window->expected) || pdu_sn_before(window->maximum, cmdsn))
		return PDU_WINDOW_OUTSIDE;
	return PDU_WINDOW_AHEAD;
}
