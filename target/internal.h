/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_INTERNAL_H
#define TARGET_INTERNAL_H

#include <assert.h>
#include <pthread.h>

#include "target/pr_state.h"
#include "target/target.h"
#include "target/task.h"

/* What the files of target/ share. Who owns what:
 *
 *   scsi_target 1--n scsi_lun_mapping n--1 scsi_lu 1--1 volume
 *   scsi_target 1--n scsi_nexus
 *   scsi_itl = one nexus x one mapping: the I_T_L nexus, with its tasks and unit attentions
 *
 * Locks, in this order:
 *   1. topology (topology_lock(), one for the process): which targets, mappings, logical units
 *      and nexuses exist. Slow paths only.
 *   2. scsi_lu.lock: mode pages and reservation of one logical unit.
 *   3. scsi_nexus.lock: the LUN table of one nexus. The only lock on the I/O path, taken once
 *      per command; it earns its place because the control loop changes LUN maps under running
 *      sessions, and is uncontended otherwise.
 *   4. scsi_lu.ranges.mutex: block ranges in use, twice a command (lock.c says why).
 * Tasks, task lists and abort orders of a nexus are touched on the nexus's loop only; others
 * post messages there. */

#define LUN_TABLE_PAGE  64
#define LUN_TABLE_PAGES ((SCSI_LUN_MAX + 1) / LUN_TABLE_PAGE)
#define LUN_NONE        (-1)

#define SCSI_BLOCK_SHIFT     9 /* 512-byte logical blocks */
#define SCSI_TRANSFER_BLOCKS (VOLUME_TRANSFER_MAX >> SCSI_BLOCK_SHIFT)
#define SCSI_UNMAP_BLOCKS    (1u << 20) /* MAXIMUM UNMAP LBA COUNT: 512 MiB */
#define SCSI_UNMAP_RANGES    256u
#define SCSI_SAME_BLOCKS     (32u << 10)  /* MAXIMUM WRITE SAME LENGTH: 16 MiB */
#define SCSI_PIECE_BLOCKS    (256u << 10) /* one discard request: 128 MiB */
#define SCSI_STATUS_EXTENTS  64u          /* descriptors of one GET LBA STATUS */
#define SCSI_COMPARE_BLOCKS  255u         /* MAXIMUM COMPARE AND WRITE LENGTH */
/* Unit of thresholds and of log page 0Ch: 2^this logical blocks, 1 MiB. */
#define SCSI_THRESHOLD_EXPONENT 11
/* Task management promises 5 s; this leaves time for the way of the answer. */
#define SCSI_TMF_LIMIT_NS (4ull * 1000000000)

/* ---- Unit attentions (attention.c): a set, one bit a kind, so that it can not grow. */
enum attention {
	ATTENTION_POWER_ON,
	ATTENTION_BUS_RESET,
	ATTENTION_LU_RESET,
	ATTENTION_NEXUS_LOSS,
	ATTENTION_MEDIUM_CHANGED,
	ATTENTION_LUNS_CHANGED,
	ATTENTION_CAPACITY_CHANGED,
	ATTENTION_MODE_CHANGED,
	ATTENTION_THRESHOLD,
	ATTENTION_COMMANDS_CLEARED,
	ATTENTION_RESERVATIONS_PREEMPTED,
	ATTENTION_RESERVATIONS_RELEASED,
	ATTENTION_REGISTRATIONS_PREEMPTED,
	ATTENTION_ACCESS_CHANGED,
	ATTENTION_PROTOCOL_EVENT, /* some commands cleared by one of iSCSI */
	ATTENTION_COUNT,
};

/* ---- Mode pages (mode.c). */
#define MODE_PAGE_COUNT 6
#define MODE_PAGE_MAX   20

/* ---- Block ranges in use (lock.c). */
struct scsi_lock_table {
	pthread_mutex_t mutex;
	struct list active, waiting; /* scsi_range.link; waiting: in order of arrival */
	unsigned exclusive;          /* in either list */
};

struct scsi_lu {
	struct list link; /* registry */
	unsigned refs;    /* topology lock */
	/* Another one takes its place when its data has moved (replace.c): whoever reads it may use
	 * it until the callback he is in ends. Changed with the topology lock. */
	struct volume *_Atomic volume;
	bool cdrom; /* shown as a CD or DVD drive (cdrom.c); never changes */
	struct volume_watcher watcher;
	struct list mappings; /* scsi_lun_mapping.lu_link; topology lock */
	pthread_mutex_t lock;
	uint8_t mode[MODE_PAGE_COUNT][MODE_PAGE_MAX];               /* current values; lock */
	uint8_t mode_saved[MODE_PAGE_COUNT][MODE_PAGE_MAX];         /* lock */
	bool descriptor_sense, write_cache, software_write_protect; /* atomic copies of bits */
	struct scsi_nexus *holder; /* of RESERVE(6); atomic to read, lock to change */
	char reservation[SCSI_NAME_MAX + 64];
	struct scsi_lock_table ranges;
	unsigned token_count;               /* valid copy tokens (odx.c); atomic */
	uint64_t read_errors, write_errors; /* atomic */
	unsigned threshold_level; /* watermarks of the pool that are reached; control loop */
	/* Persistent reservations: changed by their one thread with topology lock and lock held;
	 * read by others under lock. */
	struct pr_state pr;
	uint8_t pr_type; /* atomic copy of pr.type, for the check of every command */
	bool pr_busy;    /* a change is being stored; lock */
	/* Of a shared volume (pr_share.c). */
	uint32_t pr_term;   /* atomic: of the volume's, the one for which the note was read */
	bool pr_refreshing; /* atomic */
	uint32_t pr_wanted; /* atomic: how often that was asked for */
	bool pr_ours;       /* topology lock: what is in force has yet to become the note */
	bool pr_turn;       /* the reservations' thread */
	uint64_t pr_number; /* likewise: of the note that is in force */
	/* A sanitize operation (sanitize.c). */
	uint8_t sanitize;           /* enum sanitize_state; atomic to read, lock to change */
	bool sanitize_restricted;   /* what failed had no AUSE; lock */
	struct sanitize *sanitizer; /* what runs, or NULL; lock */
};

/* No operation; one that runs; one that has failed: nothing but another one helps. */
enum sanitize_state { SANITIZE_NONE, SANITIZE_RUNS, SANITIZE_FAILED };

struct scsi_counters {
	uint64_t read_ops, read_bytes, write_ops, write_bytes, errors;
};

/* Who has or had sessions, by the initiator's name; topology lock. */
struct scsi_client {
	struct list link;    /* who has been away longest first */
	struct list nexuses; /* scsi_nexus.client_link */
	char name[SCSI_NAME_MAX + 1];
	struct scsi_latencies retired; /* of nexuses that went */
};

struct scsi_lun_mapping {
	struct list target_link; /* in order of lun */
	struct list lu_link;
	struct scsi_target *target;
	struct scsi_lu *lu;
	unsigned lun;
	struct list itls;         /* scsi_itl.mapping_link; topology lock */
	struct scsi_names *names; /* who sees it, NULL = everybody; topology lock */
	struct scsi_counters retired;
	struct scsi_latencies *retired_latency; /* likewise; NULL: none; topology lock */
	bool read_only;                         /* atomic */
	bool removed;
	void (*done)(void *context);
	void *context;
	struct loop *control;
	struct message message;
	char reservation[SCSI_NAME_MAX + 64]; /* control loop: what scsi_lun_info shows */
};

/* A target port: a portal group, which is a target port group of its own. Never goes away. */
#define SCSI_PORTS_MAX 32
struct scsi_port {
	uint16_t group; /* relative port identifier as well */
	uint8_t access; /* enum scsi_access; atomic to read, topology lock to change */
	uint8_t cause;  /* of the last change: enum alua_cause; topology lock */
	bool preferred; /* topology lock */
	bool open;      /* there is a portal, or was a nexus; topology lock */
};

struct scsi_target {
	struct scsi_port ports[SCSI_PORTS_MAX];
	unsigned port_count; /* topology lock */
	char name[SCSI_NAME_MAX + 1];
	unsigned lun_count;
	bool events;          /* atomic; scsi_target_set_events() */
	struct list mappings; /* topology lock */
	struct list nexuses;
};

struct scsi_itl {
	struct list mapping_link; /* topology lock */
	struct scsi_nexus *nexus;
	struct scsi_lun_mapping *mapping;
	struct scsi_lu *lu;  /* what mapping->lu says */
	uint32_t attentions; /* bits of enum attention; atomic */
	uint32_t pr_role;    /* bits of enum pr_role; atomic */
	unsigned work_count; /* task_count without those that wait for the reservations' thread */
	unsigned task_count; /* begun, not ended; both written on the nexus's loop, read by anyone.
			      * What follows: nexus's loop */
	struct list waiting; /* behind an ORDERED task */
	unsigned running;
	bool ordered_running;
	/* A CD drive's tray, which each I_T nexus has for itself (cdrom.c). */
	bool tray_open, tray_locked;
	uint8_t media_event;            /* not asked for yet; 0: none */
	bool removed;                   /* unmapped: free when the last task is gone */
	struct scsi_counters counters;  /* written here only, read by anyone */
	struct scsi_latencies *latency; /* likewise; atomic; NULL until the first READ or WRITE */
	struct copy_result *results;    /* COPY_RESULTS of them, or NULL; the nexus's loop */
	struct message retire;
};

/* "Abort these tasks of this nexus and say when they are gone" (tmf.c). */
struct abort_order {
	struct list link;         /* nexus->orders; the nexus's loop */
	struct scsi_nexus *nexus; /* whose tasks */
	const struct scsi_lu *lu; /* NULL: any; compared, never followed */
	bool preempted;           /* by PREEMPT AND ABORT: PERSISTENT RESERVE OUT is spared */
	const struct scsi_task *sanitizes; /* it ends all others with 02h/04h/1Bh; or NULL */
	bool one_task;
	bool cleared_by_other; /* whoever loses a task hears 2Fh/00h */
	bool overtaken;        /* tasks from @before on are not meant */
	uint32_t before;
	uint64_t tag;
	uint64_t limit;   /* tasks executed before this sequence number */
	unsigned waiting; /* tasks that are not at their end */
	unsigned found;
	void (*drained)(struct abort_order *order);
	struct message message;
	void *owner;
};

static inline void itl_count_work(struct scsi_itl *itl, int more)
{
	__atomic_store_n(&itl->work_count, itl->work_count + (unsigned)more, __ATOMIC_RELAXED);
}

static inline void itl_count_tasks(struct scsi_itl *itl, int more)
{
	itl_count_work(itl, more);
	__atomic_store_n(&itl->task_count, itl->task_count + (unsigned)more, __ATOMIC_RELAXED);
}

struct scsi_nexus {
	struct list target_link;
	struct list client_link; /* topology lock */
	struct scsi_client *client;
	struct scsi_latencies latency; /* written on the loop only, read by anyone */
	struct scsi_target *target;
	uint32_t refs; /* atomic: the owner, and messages on their way here */
	struct loop *loop;
	char initiator_port[SCSI_PORT_NAME_MAX];
	char target_port[SCSI_PORT_NAME_MAX];
	uint16_t relative_port;
	const struct scsi_port *port;
	const struct scsi_lun_mapping *only; /* of a check: all it sees, whatever the masks */
	uint32_t news; /* atomic: bits of enum attention; not 0: news_message is on its way */
	struct message news_message;
	pthread_mutex_t lock;
	struct scsi_itl **pages[LUN_TABLE_PAGES]; /* lock */
	/* On the loop only: */
	struct list tasks; /* begun, running or waiting, of every LUN */
	uint64_t sequence; /* of the next task executed */
	struct list orders;
	scsi_told told; /* NULL: nobody listens */
	void *told_context;
	struct abort_order abort_all; /* scsi_nexus_abort_all() */
	void (*drained)(void *context);
	void *drained_context;
	struct deferred drained_deferred;
};

void topology_lock(void);
void topology_unlock(void);

/* ---- lun.c: LUN numbers on the wire (SAM-5 4.6). */
int lun_decode(const uint8_t lun[8]); /* LUN_NONE if it is nothing we have */
void lun_encode(unsigned lun, uint8_t ret_lun[8]);

/* ---- lu.c */
/* Topology lock; NULL: no memory. The same unit for everybody; whoever makes it says what it is. */
struct scsi_lu *lu_get(struct volume *volume, bool cdrom);
void lu_put(struct scsi_lu *lu); /* topology lock */
/* Unit attention @kind for every I_T nexus of @lu but @except. Topology lock held. */
void lu_attention(struct scsi_lu *lu, enum attention kind, const struct scsi_nexus *except);
struct scsi_lu *lu_of(const uint8_t uuid[16]); /* topology lock; NULL: none */
/* The unit is @volume from now on. Topology lock, control loop. */
void lu_replace(struct scsi_lu *lu, struct volume *volume);
/* Back to power-on values: reservation gone, saved mode parameters. Topology lock. */
void lu_reset(struct scsi_lu *lu);
void lu_release_reservation(struct scsi_lu *lu, const struct scsi_nexus *nexus);
static inline uint64_t lu_blocks(const struct scsi_lu *lu)
{
	return volume_size(lu->volume) >> SCSI_BLOCK_SHIFT;
}

/* ---- nexus.c */
/* Something that an idle initiator can be told pends now. Any thread, while @nexus is somebody's.
 */
void nexus_news(struct scsi_nexus *nexus, enum attention kind);
/* scsi_nexus_create() for a check of LUN @lun, through the best of the target's ports. -ENOENT. */
int nexus_create_for(struct scsi_target *target, unsigned lun, struct scsi_nexus **ret_nexus,
		     struct err *err);

/* ---- latency.c */
/* latency_task_ends: counts it, and keeps it when it was slow. On the nexus's loop, at the end of
 * every command that was executed; task->itl is still there. */
void latency_task_ends(struct scsi_task *task);
/* Topology lock: an I_T_L nexus, a mapping, a nexus goes; a nexus comes. */
void latency_itl_goes(struct scsi_itl *itl);
void latency_mapping_goes(struct scsi_lun_mapping *mapping);
void latency_nexus_comes(struct scsi_nexus *nexus);
void latency_nexus_goes(struct scsi_nexus *nexus);

/* ---- alua.c: target port groups */
enum alua_cause { ALUA_EXPLICIT = 1, ALUA_IMPLICIT = 2 };
struct scsi_port *alua_port(struct scsi_target *target, uint16_t group);     /* topology lock */
struct scsi_port *alua_add_port(struct scsi_target *target, uint16_t group); /* likewise */
bool alua_allows(struct scsi_task *task, const struct scsi_opcode *row);     /* or sense is set */
bool alua_decode_set(struct scsi_task *task);
void alua_report(struct scsi_task *task);
void alua_set(struct scsi_task *task);

/* ---- pr.c: persistent reservations */
enum pr_role { PR_ROLE_REGISTERED = 1, PR_ROLE_HOLDER = 2 };
/* A logical unit comes and goes; an I_T_L nexus comes. Topology lock. */
void pr_lu_init(struct scsi_lu *lu);
void pr_lu_finish(struct scsi_lu *lu);
void pr_attach(struct scsi_itl *itl);
/* SPC-4 5.12.3: what RESERVE(6) and RELEASE(6) do when there are registrations: true = nothing,
 * and GOOD; a conflict or BUSY is set in the task's status. lu->lock held. */
bool pr_settles_reserve6(struct scsi_task *task);
/* The conflict check: one load and a branch while nothing is reserved. Any thread. */
bool pr_allows(const struct scsi_itl *itl, const struct scsi_opcode *row);
bool pr_decode_out(struct scsi_task *task);
void pr_in_read_keys(struct scsi_task *task);
void pr_in_read_reservation(struct scsi_task *task);
void pr_in_report_capabilities(struct scsi_task *task);
void pr_in_read_full_status(struct scsi_task *task);
void pr_out(struct scsi_task *task);

/* Put @state (taken over) in force. Topology lock, the reservations' thread. */
void pr_release_reserve6(struct scsi_lu *lu); /* topology lock held */
void pr_put_in_force(struct scsi_lu *lu, struct pr_state *state);
bool pr_is_nexus(const struct pr_identity *identity, const struct scsi_nexus *nexus);

/* ---- pr_note.c: codec. -ENOMEM; -EPROTO: hostile or newer. */
int pr_note_encode(const struct pr_state *state, uint8_t **ret_data, size_t *ret_length);
int pr_note_decode(const uint8_t *data, size_t length, struct pr_state *ret_state);

/* ---- pr_share.c. Inside a fiber of the reservations' thread: pr_share_begin: this unit's turn.
 * pr_share_fetch: what the note says is in force. pr_share_store: @state is what it says; -ESTALE:
 * it says something else by now, fetch again. */
void pr_share_begin(struct scsi_lu *lu);
void pr_share_end(struct scsi_lu *lu);
int pr_share_fetch(const uint8_t uuid[16], struct volume *volume, uint64_t *ret_number);
int pr_share_store(struct scsi_lu *lu, struct volume *volume, const struct pr_state *state);
/* pr_share_mark_lost: @next takes the place of @now: who is registered in the one and not in the
 * other stays in @next, marked, and so is who hears that a reservation is gone. -ENOMEM. */
int pr_share_mark_lost(const struct pr_state *now, struct pr_state *next, bool *ret_any);
/* pr_share_clear: nobody is registered any more, in the note, and then by @clear here. */
int pr_share_clear(const uint8_t uuid[16], struct volume *volume,
		   int (*clear)(const uint8_t *uuid));
/* Any loop. pr_share_current: may commands be held against what is in force? pr_share_moved: the
 * unit has got this volume, and brings its reservations along; topology lock.
 * pr_share_reads_first: true: the task is on its way, and its handler is called again. */
void pr_share_refresh(struct scsi_lu *lu);
void pr_share_moved(struct scsi_lu *lu);
bool pr_share_current(struct scsi_lu *lu);
bool pr_share_reads_first(struct scsi_task *task);

/* ---- pr_store.c: what survives a power loss. The reservations' thread only, but for
 * pr_store_load(): any, under the topology lock. */
bool pr_store_ready(void);
/* Durable: on 0. pr_store_save keeps @state, or nothing if it has no APTPL. pr_store_bring: what
 * comes from another node: the same, and in memory all of it, until the unit comes up. */
int pr_store_save(const uint8_t uuid[16], const struct pr_state *state);
int pr_store_bring(const uint8_t uuid[16], const struct pr_state *state);
void pr_store_load(const uint8_t uuid[16], struct pr_state *ret_state);
/* pr_store_peek: the same, and nothing else. pr_store_brought: the unit has it. */
void pr_store_peek(const uint8_t uuid[16], struct pr_state *ret_state);
void pr_store_brought(const uint8_t uuid[16]);
/* Run on the reservations' thread; at once where there is none. */
void pr_store_post(struct message *message, void (*run)(struct message *message));

/* ---- mode_store.c: saved mode pages, in the reservations' store. On that thread, but for
 * mode_store_get(): any. */
struct config;
struct config *pr_store_config(void); /* that thread; NULL: nothing is kept */
int mode_store_load(struct config *config, struct err *err);
void mode_store_drop(void); /* at the end */
/* Durable: on 0. NULL as @pages forgets what is saved. */
int mode_store_save(const uint8_t uuid[16], uint8_t (*pages)[MODE_PAGE_MAX]);
bool mode_store_get(const uint8_t uuid[16], uint8_t (*ret_pages)[MODE_PAGE_MAX]);

/* ---- sanitize_store.c: operations under way and failed ones, likewise. */
#define SANITIZE_PATTERN_MAX (1u << SCSI_BLOCK_SHIFT)
struct sanitize_order {
	bool failed;     /* it was tried */
	bool restricted; /* AUSE was 0 */
	bool erase;      /* BLOCK ERASE, not OVERWRITE */
	bool invert;     /* the pattern between two passes */
	uint8_t passes;  /* 1-31 */
	uint16_t length; /* of the pattern */
	uint8_t pattern[SANITIZE_PATTERN_MAX];
};
int sanitize_store_load(struct config *config, struct err *err);
void sanitize_store_drop(void); /* at the end */
/* Durable: on 0; also where nothing is kept. NULL as @order: there is none any more. */
int sanitize_store_save(const uint8_t uuid[16], const struct sanitize_order *order);
bool sanitize_store_get(const uint8_t uuid[16], struct sanitize_order *ret_order);

/* ---- sanitize.c */
/* What was under way when the unit went, goes on. Topology lock; on a loop. */
void sanitize_lu_init(struct scsi_lu *lu);
void sanitize_lu_finish(struct scsi_lu *lu); /* topology lock: it stops, the volume may be kept */
/* True: an operation runs and stops now; @message is posted to @loop when it has let go of the
 * volume. It goes on when the unit comes back. Topology lock. */
bool sanitize_stop(struct scsi_lu *lu, struct loop *loop, struct message *message,
		   void (*run)(struct message *message));
bool sanitize_offered(const struct scsi_itl *itl); /* is SANITIZE there at all? */
bool sanitize_allows(struct scsi_task *task, const struct scsi_opcode *row); /* or sense is set */
struct sense;
/* Sense data that says that an operation runs or has failed. */
bool sanitize_sense(struct scsi_lu *lu, struct sense *ret_sense); /* false: neither */
void sanitize_give_up(struct scsi_task *task); /* a task that waits for its end is aborted */
bool sanitize_decode(struct scsi_task *task);
bool sanitize_decode_overwrite(struct scsi_task *task);
bool sanitize_decode_exit(struct scsi_task *task);
void sanitize_execute(struct scsi_task *task);
void sanitize_exit(struct scsi_task *task);

/* ---- transport_id.c: TransportIDs of iSCSI (SPC-4 7.6.4.5) */
#define TRANSPORT_ID_MAX (4 + 256)
/* Hostile input. Whole name of the port in *ret_port; false: only the node's name. Returns the
 * bytes used, 0 for nonsense. */
size_t transport_id_parse(const uint8_t *bytes, size_t length, char ret_name[SCSI_PORT_NAME_MAX],
			  bool *ret_port);
unsigned transport_id_write(const char *initiator_port, uint8_t ret_bytes[TRANSPORT_ID_MAX]);

/* ---- nexus.c */
struct scsi_itl *nexus_find(struct scsi_nexus *nexus, int lun); /* the nexus's loop */
int nexus_attach(struct scsi_nexus *nexus, struct scsi_lun_mapping *mapping,
		 uint32_t attentions); /* topology lock */
/* Who may see a LUN; topology lock. */
bool mapping_visible(const struct scsi_lun_mapping *mapping, const struct scsi_nexus *nexus);
/* Topology lock; NULL: none. */
struct scsi_lun_mapping *target_find_mapping(struct scsi_target *target, unsigned lun);
/* The nexus's I_T_L nexus of this mapping, NULL if it has none; topology lock, any thread. */
struct scsi_itl *nexus_itl(struct scsi_nexus *nexus, const struct scsi_lun_mapping *mapping);
void nexus_detach(struct scsi_itl *itl);         /* topology lock; any thread */
void nexus_retire_if_idle(struct scsi_itl *itl); /* the nexus's loop, no lock held */
void nexus_ref(struct scsi_nexus *nexus);
void nexus_unref(struct scsi_nexus *nexus);
/* Topology lock: the mapping has lost an itl; finish an unmap whose last one it was. */
void mapping_settle(struct scsi_lun_mapping *mapping);

/* ---- lock.c; any loop */
void lock_table_init(struct scsi_lock_table *table);
void lock_table_finish(struct scsi_lock_table *table);
/* lock_acquire: true when @range is held at once; otherwise granted() is posted to its loop. */
bool lock_acquire(struct scsi_lock_table *table, struct scsi_range *range);
void lock_release(struct scsi_range *range);
/* lock_give_up: false when @range was granted already and its message is on the way. */
bool lock_give_up(struct scsi_range *range);

/* ---- copy.c */
#define COPY_TARGETS      8u
#define COPY_SEGMENTS     64u
#define COPY_LIST_MAX     2048u /* bytes of descriptors */
#define COPY_SEGMENT_MAX  (65535u << SCSI_BLOCK_SHIFT)
#define COPY_RESULTS      16u /* kept for an I_T_L nexus */
#define COPY_BUFFER       BUF_MAX
#define COPY_RANGES       16u         /* of one token command */
#define COPY_TOKEN_BLOCKS (64u << 11) /* a token stands for: 64 MiB */
/* What became of a copy; allocated with the first one of an I_T_L nexus. */
struct copy_result {
	bool used, running, discard;
	uint8_t action; /* service action that made it: 0 is EXTENDED COPY(LID1) */
	uint32_t list;
	uint64_t age; /* the nexus's sequence when it began */
	enum scsi_status status;
	uint16_t segments; /* done */
	uint64_t blocks;   /* copied */
	uint8_t sense[32], sense_length;
	uint8_t secret[32]; /* of the token that was made */
};
/* copy_run: copy @blocks from one logical unit to another or the same, in pieces, then go on
 * with @next; fails the task with COPY ABORTED. task->buffer is the buffer to use. What is not
 * mapped in the source is discarded in the destination. Ranges are checked by the caller. */
void copy_run(struct scsi_task *task, struct scsi_itl *from, uint64_t from_lba, struct scsi_itl *to,
	      uint64_t to_lba, uint64_t blocks, bool (*intact)(struct scsi_task *task),
	      void (*next)(struct scsi_task *task));
void copy_drop(struct scsi_task *task); /* at the end of every task */
/* copy_result_start: an entry for @list; false: sense is set (number in use, no room). */
bool copy_result_start(struct scsi_task *task, uint8_t action, uint32_t list, bool discard);
struct copy_result *copy_result_find(const struct scsi_itl *itl, bool lid1, uint32_t list);
/* The logical unit with this NAA designator among those @nexus can see, or NULL. */
struct scsi_itl *nexus_find_naa(struct scsi_nexus *nexus, const uint8_t naa[16]);

bool xcopy_decode(struct scsi_task *task);
bool xcopy_decode_results(struct scsi_task *task);
void xcopy_execute(struct scsi_task *task);
void xcopy_status(struct scsi_task *task);
void xcopy_parameters(struct scsi_task *task);

/* ---- odx.c */
/* Any loop, before blocks of @lu are written or discarded: their tokens are revoked. */
void odx_source_changes(const struct scsi_lu *lu, uint64_t lba, uint64_t blocks);
void odx_lu_gone(const struct scsi_lu *lu);
unsigned odx_page(const struct scsi_task *task, uint8_t *start);
bool odx_decode_populate(struct scsi_task *task);
bool odx_decode_write(struct scsi_task *task);
bool odx_decode_information(struct scsi_task *task);
void odx_populate(struct scsi_task *task);
void odx_write(struct scsi_task *task);
void odx_information(struct scsi_task *task);

/* ---- attention.c */
void attention_set(struct scsi_itl *itl, enum attention kind);
bool attention_pending(const struct scsi_itl *itl);
/* ASC and ASCQ if @kind pends, else 0. */
uint16_t attention_peek(const struct scsi_itl *itl, enum attention kind);
/* Takes the most urgent one off and returns its additional sense code; 0 = none. */
uint16_t attention_take(struct scsi_itl *itl);
void attention_clear(struct scsi_itl *itl, enum attention kind);
/* For every LUN of @nexus. */
void attention_set_everywhere(struct scsi_nexus *nexus, enum attention kind);
void attention_clear_everywhere(struct scsi_nexus *nexus, enum attention kind);

/* ---- sense.c */
enum sense_key {
	SENSE_NONE = 0,
	SENSE_NOT_READY = 2,
	SENSE_MEDIUM_ERROR = 3,
	SENSE_HARDWARE_ERROR = 4,
	SENSE_ILLEGAL_REQUEST = 5,
	SENSE_UNIT_ATTENTION = 6,
	SENSE_DATA_PROTECT = 7,
	SENSE_COPY_ABORTED = 0xa,
	SENSE_ABORTED_COMMAND = 0xb,
	SENSE_MISCOMPARE = 0xe,
};
/* ASC << 8 | ASCQ (SPC-4 annex D). */
#define ASC_PARAMETER_LIST_LENGTH     0x1a00
#define ASC_INVALID_OPCODE            0x2000
#define ASC_LBA_OUT_OF_RANGE          0x2100
#define ASC_INVALID_FIELD_IN_CDB      0x2400
#define ASC_LUN_NOT_SUPPORTED         0x2500
#define ASC_INVALID_FIELD_IN_LIST     0x2600
#define ASC_TOKEN_TYPE                0x2301
#define ASC_TOKEN_UNKNOWN             0x2304
#define ASC_TOKEN_CORRUPT             0x2305
#define ASC_TOKEN_REVOKED             0x2306
#define ASC_TOKEN_EXPIRED             0x2307
#define ASC_TOKEN_DELETED             0x2309
#define ASC_TOKEN_LENGTH              0x230a
#define ASC_NO_ROD_TOKENS             0x550d
#define ASC_WRITE_PROTECTED           0x2700
#define ASC_SOFTWARE_PROTECTED        0x2702
#define ASC_SPACE_ALLOCATION          0x2707
#define ASC_SAVING_NOT_SUPPORTED      0x3900
#define ASC_UNRECOVERED_READ          0x1100
#define ASC_WRITE_ERROR               0x0c00
#define ASC_MISCOMPARE                0x1d00
#define ASC_TRAY_OPEN                 0x3a02
#define ASC_REMOVAL_PREVENTED         0x5302
#define ASC_WRONG_TRACK_MODE          0x6400
#define ASC_UNREACHABLE_TARGET        0x0804
#define ASC_THIRD_PARTY_FAILURE       0x0d01
#define ASC_TARGET_NOT_REACHABLE      0x0d02
#define ASC_TARGET_TYPE               0x0d03
#define ASC_TOO_MANY_TARGETS          0x2606
#define ASC_TARGET_DESCRIPTOR         0x2607
#define ASC_TOO_MANY_SEGMENTS         0x2608
#define ASC_SEGMENT_DESCRIPTOR        0x2609
#define ASC_INLINE_DATA               0x260b
#define ASC_NO_RESOURCES              0x5503
#define ASC_INVALID_FIELD_IN_IU       0x0e03
#define ASC_INVALID_RELEASE           0x2604
#define ASC_INSUFFICIENT_REGISTRATION 0x5504
#define ASC_PORT_TRANSITION           0x040a
#define ASC_PORT_STANDBY              0x040b
#define ASC_SANITIZE_IN_PROGRESS      0x041b
#define ASC_SANITIZE_FAILED           0x3103
#define ASC_COMMAND_SEQUENCE          0x2c00
#define ASC_PORT_UNAVAILABLE          0x040c
#define ASC_LUNS_CHANGED              0x3f0e
#define ASC_INTERNAL_FAILURE          0x4400
#define ASC_INVALID_MESSAGE           0x4900

struct sense {
	uint8_t key;
	uint16_t asc;
	bool has_information, has_field;
	uint64_t information;
	bool in_cdb; /* of the field */
	uint16_t byte;
	int bit; /* -1: the whole byte */
	bool has_progress;
	uint16_t progress; /* of 65536 */
};
/* Writes at most SCSI_SENSE_MAX bytes, returns how many. */
unsigned sense_build(const struct sense *sense, bool descriptor, uint8_t *ret_bytes);
/* These set CHECK CONDITION and the task's sense data; nothing else. All return false so that
 * a decoder can say `return sense_...`. */
bool sense_set(struct scsi_task *task, enum sense_key key, uint16_t asc);
bool sense_set_all(struct scsi_task *task, const struct sense *sense);
bool sense_set_information(struct scsi_task *task, enum sense_key key, uint16_t asc,
			   uint64_t information);
bool sense_set_cdb_field(struct scsi_task *task, unsigned byte, int bit);
bool sense_set_list_field(struct scsi_task *task, unsigned byte, int bit);

/* ---- opcode.c */
enum opcode_flags {
	OPCODE_ANY_LUN = 1,      /* answered where no logical unit is */
	OPCODE_NO_ATTENTION = 2, /* neither reports nor clears a unit attention at begin */
	OPCODE_RESERVED_OK = 4,  /* allowed while another nexus holds RESERVE(6) */
	OPCODE_WRITES = 8,       /* refused on a write-protected volume */
	OPCODE_PROTECT = 16,     /* byte 1 bits 7-5 are RDPROTECT / WRPROTECT / VRPROTECT */
	OPCODE_GROUP = 32,       /* has a GROUP NUMBER, which is ignored (SBC-3 4.23) */
	OPCODE_SERVICE = 64,     /* told apart by service action */
	/* Allowed to those outside a persistent reservation: always, or if it shares reads */
	OPCODE_PR_OK = 128,
	OPCODE_PR_READ = 256,
	/* Through a port in standby; through one in any state (SPC-4 5.15.2.4) */
	OPCODE_STANDBY_OK = 4096,
	OPCODE_ANY_ACCESS = 8192,
	OPCODE_NO_MEDIUM_OK = 16384, /* CD: while the tray is open */
	OPCODE_ANY_TYPE = 32768,     /* in the table of disks: other device types have it as well */
	OPCODE_SANITIZES = 65536,    /* only where the volume can be overwritten in place */
	OPCODE_SANITIZE_OK = 131072, /* while a sanitize operation runs or has failed */
};
struct scsi_opcode {
	const char *name;
	uint8_t opcode;
	uint8_t service_action;
	uint8_t cdb_length;
	unsigned flags;
	/* Bits of the CDB that are looked at; RSOC reports them, others must be zero. Byte 0
	 * and the service action are put in when reported. */
	uint8_t usage[16];
	/* Parameter data is built in a zeroed buffer of this size; 0: handler does as it likes.*/
	uint32_t reply_size;
	/* Optional. Sets direction, data_out_wanted, allocation, lba, blocks; false: sense is
	 * set. On the nexus's loop, in scsi_task_begin(). */
	bool (*decode)(struct scsi_task *task);
	/* Required. Leads to task_finish(), at once or later. */
	void (*execute)(struct scsi_task *task);
};
/* The commands of one peripheral device type; rows of one opcode stand together. What all types
 * have stands in the table of disks only. */
struct scsi_opcode_rows {
	const struct scsi_opcode *first;
	unsigned count;
};
struct scsi_opcode_table {
	const struct scsi_opcode *rows;
	unsigned count;
	struct scsi_opcode_rows of[256]; /* by opcode, shared ones included */
};
extern struct scsi_opcode_table opcode_disk, opcode_cdrom; /* constant once the program runs */
void opcode_index(struct scsi_opcode_table *table);        /* before it runs */
/* What @itl's device is; NULL, which is no logical unit, is taken for a disk. */
const struct scsi_opcode_table *opcode_table(const struct scsi_itl *itl);
/* The row, or NULL with *ret_known_opcode telling whether only the service action is strange. */
const struct scsi_opcode *opcode_find(const struct scsi_opcode_table *table, const uint8_t *cdb,
				      bool *ret_known_opcode);
const struct scsi_opcode *opcode_row(unsigned index); /* of disks; NULL past the end */
/* Index of the first reserved bit that is set; false: all is well. */
bool opcode_reserved_bit(const struct scsi_opcode *row, const uint8_t *cdb, unsigned *ret_byte,
			 int *ret_bit);

/* ---- task.c: what handlers use */
enum task_flags {
	TASK_STARTED = 1,  /* scsi_task_execute() was called */
	TASK_RUNNING = 2,  /* the handler has it */
	TASK_IN_START = 4, /* handler is on the stack: done() has to wait */
	TASK_ABORTED = 8,
	TASK_AT_VOLUME = 16, /* task->request is submitted */
	TASK_FINISHED = 32,
	TASK_CANCELLED = 64,    /* volume_cancel() was called */
	TASK_AT_LOCK = 128,     /* task->range waits */
	TASK_AT_SANITIZE = 256, /* waits for the end of the operation it began */
	TASK_TERMINATED = 512,  /* with TASK_ABORTED: by a SANITIZE, and is told so */
	TASK_AT_BUFFER = 1024,  /* task->buffer_waiter waits */
};
void task_finish(struct scsi_task *task);
void task_fail(struct scsi_task *task, enum sense_key key, uint16_t asc);
/* Is it write-protected for this nexus: the volume (snapshot, pool) or the mapping? */
bool task_read_only(const struct scsi_itl *itl);
/* Get task->buffer of at least @size bytes, then go on with @next. */
void task_get_buffer(struct scsi_task *task, size_t size, void (*next)(struct scsi_task *task));
/* @bytes of parameter data are in task->buffer; send what the allocation length lets through. */
void task_reply(struct scsi_task *task, uint32_t bytes);
/* Have these blocks for this task alone, until it finishes: no request of another one is between
 * this task's. Get buffers before, not after. */
void task_lock(struct scsi_task *task, uint64_t lba, uint64_t blocks,
	       void (*next)(struct scsi_task *task));
void task_unlock(struct scsi_task *task); /* before its end */
/* One request on the volume, in blocks; @next runs when it succeeded, otherwise the task fails
 * with the sense data that fits. READ and WRITE use task->request.iov. */
void task_volume(struct scsi_task *task, enum volume_op op, uint64_t lba, uint64_t blocks,
		 unsigned flags, void (*next)(struct scsi_task *task));
/* The same on another logical unit, which the caller keeps alive. */
void task_volume_on(struct scsi_task *task, struct scsi_lu *lu, enum volume_op op, uint64_t lba,
		    uint64_t blocks, unsigned flags, void (*next)(struct scsi_task *task));
/* May the nexus of @itl do what @row says there? Reservations and write protection. */
bool task_may(const struct scsi_itl *itl, const struct scsi_opcode *row);
/* Copy out of the data-out buffers; bytes past their end read as zero. */
void task_copy_out(const struct scsi_task *task, size_t offset, void *bytes, size_t length);
unsigned task_write_flags(const struct scsi_task *task, bool fua);
void task_cancel(struct scsi_task *task); /* of an aborted task: what it waits for */

/* ---- tmf.c: PREEMPT AND ABORT. tmf_preempt_collect: the nexuses of @lu that @affected names,
 * held until tmf_preempt_run() on @task's loop has aborted their commands (but no PERSISTENT
 * RESERVE OUT) and finishes @task. There is no time limit: GOOD means that nothing of theirs can
 * still reach the medium. Topology lock; NULL: no memory. */
struct tmf_order *tmf_preempt_collect(struct scsi_task *task,
				      bool (*affected)(const struct scsi_itl *itl, void *context),
				      void *context);
void tmf_preempt_run(struct tmf_order *tmf);
/* tmf_sanitize: end all other commands to @task's unit that reach its medium with 02h/04h/1Bh;
 * @then(task) when they are gone. Topology lock, then tmf_preempt_run(). NULL: no memory. */
struct tmf_order *tmf_sanitize_collect(struct scsi_task *task,
				       void (*then)(struct scsi_task *task));

/* ---- tmf.c: around the end of a task of @nexus */
void tmf_task_leaves(struct scsi_nexus *nexus, const struct scsi_task *task);
void tmf_answer_drained(struct scsi_nexus *nexus);

/* ---- decoders and handlers named by the opcode table */
bool spc_decode_none(struct scsi_task *task);
bool spc_decode_inquiry(struct scsi_task *task);
bool spc_decode_alloc8(struct scsi_task *task);  /* allocation length in byte 4 */
bool spc_decode_alloc16(struct scsi_task *task); /* bytes 7-8 */
bool spc_decode_alloc32(struct scsi_task *task); /* bytes 6-9 */
void inquiry_execute(struct scsi_task *task);
void spc_test_unit_ready(struct scsi_task *task);
void spc_request_sense(struct scsi_task *task);
void spc_report_luns(struct scsi_task *task);
void spc_reserve(struct scsi_task *task);
void spc_release(struct scsi_task *task);
void report_opcodes(struct scsi_task *task);
void report_tmfs(struct scsi_task *task);
bool mode_decode_select6(struct scsi_task *task);
bool mode_decode_select10(struct scsi_task *task);
void mode_sense(struct scsi_task *task);
void mode_select(struct scsi_task *task);
void mode_init(struct scsi_lu *lu);     /* to saved values, if there are any */
void mode_power_on(struct scsi_lu *lu); /* lu->lock */
void log_sense(struct scsi_task *task);
/* Add up what the nexuses of @mapping have counted. Topology lock. */
void target_sum_counters(struct scsi_lun_mapping *mapping, struct scsi_counters *sum);

bool block_decode_read(struct scsi_task *task);
bool block_decode_write(struct scsi_task *task);
bool block_decode_range(struct scsi_task *task); /* no data, any length */
bool block_decode_capacity10(struct scsi_task *task);
bool block_decode_capacity16(struct scsi_task *task);
void block_read(struct scsi_task *task);
void block_write(struct scsi_task *task);
void block_read_capacity10(struct scsi_task *task);
void block_read_capacity16(struct scsi_task *task);
void block_synchronize_cache(struct scsi_task *task);
void block_prefetch(struct scsi_task *task);
void block_start_stop(struct scsi_task *task);
bool block_decode_start_stop(struct scsi_task *task);
/* LBA and length of any block CDB, by its length; checks the range. */
bool block_decode_lba(struct scsi_task *task);
/* The same, and at most @limit blocks. */
bool block_decode_limited(struct scsi_task *task, uint64_t limit);
/* Point task->request at the whole blocks among the @length bytes of data-out from @offset, a
 * multiple of the block size; task->blocks says how many there are. */
void block_use_data_out(struct scsi_task *task, size_t offset, size_t length);

/* ---- cdrom.c: a volume as a CD or DVD drive with a read-only disc (MMC-6) */
#define CDROM_BLOCK_SHIFT 11
static inline unsigned lu_block_shift(const struct scsi_lu *lu)
{
	return lu->cdrom ? CDROM_BLOCK_SHIFT : SCSI_BLOCK_SHIFT;
}
bool cdrom_medium_ok(struct scsi_task *task, const struct scsi_opcode *row); /* or sense is set */

bool verify_decode(struct scsi_task *task);
bool verify_decode_write(struct scsi_task *task);
void verify_execute(struct scsi_task *task);
void verify_write(struct scsi_task *task);
/* How many bytes from the start of @medium are as in data-out from @offset on; @length: all. */
size_t verify_same(const struct scsi_task *task, size_t offset, const uint8_t *medium,
		   size_t length);

bool caw_decode(struct scsi_task *task);
bool atomic_decode(struct scsi_task *task);
void caw_execute(struct scsi_task *task);
void orwrite_execute(struct scsi_task *task);
void atomic_execute(struct scsi_task *task);

bool provision_decode_unmap(struct scsi_task *task);
bool provision_decode_same(struct scsi_task *task);
bool provision_decode_status(struct scsi_task *task);
void provision_unmap(struct scsi_task *task);
void provision_write_same(struct scsi_task *task);
void provision_lba_status(struct scsi_task *task);

#endif
