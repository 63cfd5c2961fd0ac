/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_SESSION_H
#define BENCH_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "bench/options.h"
#include "core/err.h"

/* One iSCSI session of one connection, up to full feature phase. Everything here blocks, with
 * the options' limit; the traffic itself is drive.c's. */
struct session {
	int fd;
	bool header_digest, data_digest;
	bool initial_r2t, immediate_data;
	uint32_t segment_max;                  /* bytes the server takes in one PDU */
	uint32_t first_burst, max_burst;       /* bytes */
	uint32_t cmdsn, exp_statsn, max_cmdsn; /* RFC 7143 4.2.2 */
	uint32_t block_bytes;                  /* of the LUN */
	uint64_t blocks;                       /* of the LUN */
};

/* session_open: connect, log in, wait until the LUN is ready, read its capacity. @index sets the
 * ISID apart. On 0 the fd is the caller's, in @ret_session. */
int session_open(const struct options *options, unsigned index, struct session *ret_session,
		 struct err *err) __attribute__((warn_unused_result));
/* session_close: log out if the connection still lets us, and close. */
void session_close(struct session *session);

/* session_build_command: the 48 bytes of a SCSI command PDU; the caller adds flags and lengths. */
void session_build_command(uint8_t header[48], struct session *session, uint64_t lun, uint32_t tag);

#endif
