/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_TASK_H
#define TARGET_TASK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "core/buf.h"
#include "core/list.h"
#include "target/target.h"
#include "volumes/volume.h"

/* One SCSI command on its way through the target. Caller-allocated (inside the transport's own
 * task), on the nexus's loop throughout. The life of a task:
 *
 *   scsi_task_begin()    decode, access, unit attention, reservation: in one place, once.
 *                        Afterwards either task->finished (status and sense are set; any
 *                        data-out still on the wire is the transport's to swallow), or
 *                        direction and data_out_length / data_in_length say what moves.
 *   (transport gathers data_out_length bytes and sets data_out iov)
 *   scsi_task_execute()  run it; done() is called exactly once, later, never inside.
 *   (transport sends data_in, status, sense)
 *   scsi_task_end()      gives back buffers; the memory is the caller's again.
 */

#define SCSI_CDB_MAX   260 /* SPC-4 4.2.4: variable length up to 260 */
#define SCSI_SENSE_MAX 252

enum scsi_status {
	SCSI_GOOD = 0x00,
	SCSI_CHECK_CONDITION = 0x02,
	SCSI_CONDITION_MET = 0x04,
	SCSI_BUSY = 0x08,
	SCSI_RESERVATION_CONFLICT = 0x18,
	SCSI_TASK_SET_FULL = 0x28,
	SCSI_ACA_ACTIVE = 0x30,
	SCSI_TASK_ABORTED = 0x40,
};

enum scsi_direction { SCSI_NO_DATA, SCSI_DATA_OUT, SCSI_DATA_IN };

enum scsi_attribute { SCSI_SIMPLE, SCSI_ORDERED, SCSI_HEAD_OF_QUEUE, SCSI_ACA };

struct scsi_opcode; /* a row of the table in opcode.c */

/* Blocks of a logical unit in use (lock.c); private to target/. */
enum scsi_range_state { RANGE_FREE, RANGE_WAITING, RANGE_HELD };
struct scsi_lock_table;
struct scsi_range {
	struct list link;
	struct scsi_lock_table *table;
	uint64_t lba, blocks;
	bool exclusive;
	enum scsi_range_state state; /* the table's mutex */
	struct loop *loop;
	struct message message;
	void (*granted)(struct message *message);
};

/* A copy between two logical units under way (copy.c); private to target/. */
struct scsi_task;
struct scsi_copy {
	struct scsi_itl *from, *to; /* NULL: no copy; both are kept alive */
	uint64_t from_lba, to_lba, blocks;
	uint64_t done;
	uint64_t at, piece; /* under way, from the start of both ranges */
	bool backwards;
	struct volume_extent extent;
	bool (*intact)(struct scsi_task *task); /* optional: may what was read be written? */
	void (*next)(struct scsi_task *task);
};

struct scsi_task {
	/* in: set by the transport before scsi_task_begin() */
	struct scsi_nexus *nexus;
	uint8_t lun[8]; /* as on the wire (SAM-5 4.6); decoded inside */
	uint8_t cdb[SCSI_CDB_MAX];
	unsigned cdb_length;
	enum scsi_attribute attribute;
	uint64_t tag;               /* unique within the nexus (iSCSI ITT) */
	uint32_t number;            /* its place in what the initiator sent (iSCSI CmdSN) */
	uint32_t data_out_expected; /* bytes the initiator will send (EDTL when W) */
	uint32_t data_in_expected;  /* bytes it has room for (EDTL when R) */
	void (*done)(struct scsi_task *task);

	/* out of scsi_task_begin() */
	bool finished;
	enum scsi_direction direction;
	uint32_t data_out_length; /* bytes to gather: min(what the CDB asks, data_out_expected) */

	/* set by the transport before scsi_task_execute(): where the data-out bytes are. Pieces
	 * are VOLUME_BLOCK multiples (the last may be shorter for parameter lists) in 4 KiB
	 * aligned buffers. They stay valid until done(). */
	struct iovec data_out[4];
	unsigned data_out_count;

	/* out of done() */
	enum scsi_status status;
	uint8_t sense[SCSI_SENSE_MAX];
	unsigned sense_length; /* 0 unless CHECK CONDITION */
	/* data-in: data_in_length bytes in data_in[], owned by the task until scsi_task_end().
	 * Never more than the CDB's allocation length; may be more than data_in_expected: the
	 * transport sends min() and reports residuals from data_in_length / data_out_wanted. */
	struct iovec data_in[4];
	unsigned data_in_count;
	uint32_t data_in_length;
	uint32_t data_out_wanted; /* what the CDB asked for, for overflow and underflow */
	bool aborted;             /* done() after an abort: send nothing unless TAS says so */

	/* private to target/ */
	const struct scsi_opcode *opcode;
	struct scsi_itl *itl;   /* NULL: no such logical unit */
	struct list nexus_link; /* in nexus->tasks from begin() to the end */
	struct list wait_link;  /* in itl->waiting while an ORDERED task is in the way */
	struct volume_request request;
	struct iovec request_iov[4];
	struct buf *buffer;
	struct buf *buffer2;
	size_t buffer_size; /* wanted, while waiting for buffers */
	uint64_t lba;
	uint64_t blocks;
	uint64_t progress;
	struct deferred deferred;
	struct message message; /* while another thread has it: PERSISTENT RESERVE OUT */
	struct tmf_order *order;
	uint32_t step;
	uint32_t private_flags;
	/* Of loop_now(): when it came, when its data was there, when it went to the volume last. */
	uint64_t begun_ns, executed_ns, submitted_ns;
	/* Sums over its volume requests: all of it, before the back end, at devices. */
	uint64_t volume_ns, waited_ns, device_ns;
	uint64_t sequence;   /* execution order within the nexus */
	uint32_t allocation; /* bytes of data-in the CDB has room for */
	struct buf_waiter buffer_waiter;
	struct scsi_range range;
	struct scsi_lu *at; /* where the request goes; the task's own but for copies */
	struct scsi_copy copy;
	struct copy_result *result;           /* what RECEIVE COPY RESULTS shall say; may be NULL */
	void (*next)(struct scsi_task *task); /* after buffers or a volume request */
};

/* Who the buffers of commands to @lun count for until they are executed (buf_get_for()). Context:
 * the nexus's loop. */
const void *scsi_buffers_owner(struct scsi_nexus *nexus, const uint8_t lun[8]);
void scsi_task_begin(struct scsi_task *task);
void scsi_task_execute(struct scsi_task *task);
void scsi_task_end(struct scsi_task *task);
/* scsi_task_abandon: after scsi_task_begin(): nobody is left to hear of the command, while its
 * nexus goes on (RFC 7143 11.14.5): the nexus hears UNIT ATTENTION 47h/7Fh of its logical unit. If
 * it is executed already it is aborted, and done() comes, perhaps at once; if not, it shall be
 * ended. */
void scsi_task_abandon(struct scsi_task *task);

/* Task management (SAM-5 7). The caller stops gathering data for tasks it has not executed yet
 * (those it ends itself); executed ones are aborted here. done() of an aborted task comes with
 * task->aborted set. answered() comes when every affected task is at its end, in bounded time
 * (docs/LIMITS.md) even if the back end hangs. */
enum scsi_tmf {
	SCSI_ABORT_TASK,
	SCSI_ABORT_TASK_SET,
	SCSI_CLEAR_ACA,
	SCSI_CLEAR_TASK_SET,
	SCSI_LOGICAL_UNIT_RESET,
	SCSI_TARGET_WARM_RESET,
	SCSI_TARGET_COLD_RESET,
	SCSI_QUERY_TASK,
	SCSI_QUERY_TASK_SET,
	SCSI_NEXUS_RESET,
	SCSI_QUERY_ASYNC_EVENT,
};
enum scsi_tmf_response { /* the transport maps these */
			 SCSI_TMF_COMPLETE,
			 SCSI_TMF_SUCCEEDED, /* query: yes */
			 SCSI_TMF_NO_SUCH_TASK,
			 SCSI_TMF_NO_SUCH_LUN,
			 SCSI_TMF_NOT_SUPPORTED,
			 SCSI_TMF_REJECTED,
};
struct scsi_tmf_request {
	enum scsi_tmf function;
	struct scsi_nexus *nexus;
	uint8_t lun[8];
	uint64_t tag; /* ABORT TASK, QUERY TASK */
	/* Commands of @nexus may have overtaken the function: those from number @before on (serial
	 * arithmetic) are not meant. */
	bool overtaken;
	uint32_t before;
	void (*answered)(struct scsi_tmf_request *request, enum scsi_tmf_response response);
	/* private */
	enum scsi_tmf_response response;
	struct deferred deferred;
	struct tmf_order *order;
};
void scsi_tmf_submit(struct scsi_tmf_request *request);

/* scsi_nexus_abort_all: abort every executed task of @nexus; drained() when none is left. */
void scsi_nexus_abort_all(struct scsi_nexus *nexus, void (*drained)(void *context), void *context);

#endif
