/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TARGET_PR_STATE_H
#define TARGET_PR_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "target/target.h"

/* Persistent reservations of one logical unit (SPC-4 5.12) as a value: who is registered with
 * which key, what is reserved. pr_state_execute() is the whole of PERSISTENT RESERVE OUT without
 * threads, nexuses or storage: it works on a copy, which pr.c stores and puts in force. */

enum pr_type { /* SPC-4 table 62 */
	       PR_NONE = 0,
	       PR_WRITE_EXCLUSIVE = 1,
	       PR_EXCLUSIVE_ACCESS = 3,
	       PR_WRITE_EXCLUSIVE_REGISTRANTS = 5,
	       PR_EXCLUSIVE_ACCESS_REGISTRANTS = 6,
	       PR_WRITE_EXCLUSIVE_ALL = 7,
	       PR_EXCLUSIVE_ACCESS_ALL = 8,
};

enum pr_action { /* SPC-4 table 213 */
		 PR_REGISTER = 0,
		 PR_RESERVE = 1,
		 PR_RELEASE = 2,
		 PR_CLEAR = 3,
		 PR_PREEMPT = 4,
		 PR_PREEMPT_AND_ABORT = 5,
		 PR_REGISTER_AND_IGNORE = 6,
		 PR_REGISTER_AND_MOVE = 7,
};

/* An I_T nexus, with or without a session. */
struct pr_identity {
	char initiator_port[SCSI_PORT_NAME_MAX];
	char target[SCSI_NAME_MAX + 1];
	uint16_t relative_port;
};

struct pr_registration {
	struct pr_identity identity;
	uint64_t key; /* never 0 */
	bool holder;  /* of a reservation that is not of an all-registrants type */
	/* What a command did to it; all clear in between: */
	uint32_t attentions; /* bits of enum attention for its nexus */
	bool removed;
	bool preempted; /* PREEMPT AND ABORT ends its commands */
};

struct pr_state {
	uint32_t generation; /* PRGENERATION; 0 after power on */
	enum pr_type type;   /* of the reservation */
	bool aptpl;          /* survives power loss */
	unsigned count, room;
	struct pr_registration *list; /* heap */
};

struct pr_command {
	enum pr_action action;
	uint8_t scope_type; /* byte 2 of the CDB */
	uint64_t key, action_key;
	bool spec_i_pt, aptpl, unregister;
	const struct pr_identity *self;
	/* Registration through further ports of the target (ALL_TG_PT); the one in @self is
	 * always meant. */
	const uint16_t *ports;
	unsigned port_count;
	/* Further initiator ports (SPEC_I_PT), or the one to move to. */
	const struct pr_identity *others;
	unsigned other_count;
	/* out, with an error: where it is, in the parameter list or in the CDB */
	uint16_t field;
	bool field_in_cdb;
	bool changed; /* out: there is something to keep */
};

/* Results of pr_state_execute() that are no additional sense codes. */
#define PR_GOOD      0
#define PR_CONFLICT  (-1)
#define PR_NO_MEMORY (-2)

/* pr_state_execute: carry out @command on @state. Returns PR_GOOD, PR_CONFLICT, PR_NO_MEMORY or
 * the additional sense code of an ILLEGAL REQUEST; after anything but PR_GOOD the state is good
 * for nothing but pr_state_finish(). Removed registrations stay in the list, marked, until
 * pr_state_settle(). */
int pr_state_execute(struct pr_state *state, struct pr_command *command);
/* Everything gone (an administrator's CLEAR): marks as the service action does. */
void pr_state_clear(struct pr_state *state);
void pr_state_settle(struct pr_state *state);
int pr_state_copy(const struct pr_state *from, struct pr_state *ret_to); /* -ENOMEM */
void pr_state_finish(struct pr_state *state);
/* pr_state_add: a registration, unmarked; NULL: no memory. */
struct pr_registration *pr_state_add(struct pr_state *state, const struct pr_identity *identity,
				     uint64_t key);
struct pr_registration *pr_state_find(const struct pr_state *state,
				      const struct pr_identity *identity);
bool pr_identity_equal(const struct pr_identity *a, const struct pr_identity *b);
bool pr_state_holds(const struct pr_state *state, const struct pr_registration *registration);
bool pr_type_known(unsigned type);
/* Write Exclusive of any kind: others may read. */
bool pr_type_shares_reads(enum pr_type type);
/* Registrants only, or all registrants: being registered is enough. */
bool pr_type_for_registrants(enum pr_type type);
const char *pr_type_name(enum pr_type type);

#endif
