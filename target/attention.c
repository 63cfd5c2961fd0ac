/* SPDX-License-Identifier: Apache-2.0 */
/* attention.c: unit attention conditions of one I_T_L nexus (SAM-5 5.14). Several kinds may
 * pend together, one kind only once; they are reported in the order of the table, and a reset
 * makes everything that was pending before it pointless. */
#include "target/internal.h"

static const struct {
	uint16_t asc;
	bool clears_others;
} kinds[ATTENTION_COUNT] = {
    [ATTENTION_POWER_ON] = {0x2900, true},
    [ATTENTION_BUS_RESET] = {0x2902, true},
    [ATTENTION_LU_RESET] = {0x2903, true},
    [ATTENTION_NEXUS_LOSS] = {0x2907, true},
    [ATTENTION_MEDIUM_CHANGED] = {0x2800, false},
    [ATTENTION_LUNS_CHANGED] = {ASC_LUNS_CHANGED, false},
    [ATTENTION_CAPACITY_CHANGED] = {0x2a09, false},
    [ATTENTION_MODE_CHANGED] = {0x2a01, false},
    [ATTENTION_THRESHOLD] = {0x3807, false},
    [ATTENTION_COMMANDS_CLEARED] = {0x2f00, false},
    [ATTENTION_RESERVATIONS_PREEMPTED] = {0x2a03, false},
    [ATTENTION_RESERVATIONS_RELEASED] = {0x2a04, false},
    [ATTENTION_REGISTRATIONS_PREEMPTED] = {0x2a05, false},
    [ATTENTION_ACCESS_CHANGED] = {0x2a06, false},
    [ATTENTION_PROTOCOL_EVENT] = {0x477f, false},
};

void attention_set(struct scsi_itl *itl, enum attention kind)
{
	uint32_t bit = 1u << kind;
	uint32_t before = __atomic_load_n(&itl->attentions, __ATOMIC_RELAXED);
	uint32_t after;

	do {
		if (!kinds[kind].clears_others)
			after = before | bit;
		else if (before & (bit - 1))
			after = before; /* a more severe reset is still to be reported */
		else
			after = bit;
	} while (!__atomic_compare_exchange_n(&itl->attentions, &before, after, false,
					      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
}

uint16_t attention_peek(const struct scsi_itl *itl, enum attention kind)
{
	uint32_t pending = __atomic_load_n(&itl->attentions, __ATOMIC_ACQUIRE);

	return pending & (1u << kind) ? kinds[kind].asc : 0;
}

bool attention_pending(const struct scsi_itl *itl)
{
	return __atomic_load_n(&itl->attentions, __ATOMIC_ACQUIRE) != 0;
}

void attention_clear(struct scsi_itl *itl, enum attention kind)
{
	__atomic_fetch_and(&itl->attentions, ~(1u << kind), __ATOMIC_ACQ_REL);
}

uint16_t attention_take(struct scsi_itl *itl)
{
	uint32_t pending = __atomic_load_n(&itl->attentions, __ATOMIC_ACQUIRE);
	int kind = __builtin_ffs((int)pending) - 1;

	if (kind < 0)
		return 0;
	attention_clear(itl, (enum attention)kind);
	return kinds[kind].asc;
}

static void everywhere(struct scsi_nexus *nexus, enum attention kind,
		       void (*apply)(struct scsi_itl *itl, enum attention kind))
{
	pthread_mutex_lock(&nexus->lock);
	for (unsigned page = 0; page < LUN_TABLE_PAGES; page++)
		for (unsigned i = 0; nexus->pages[page] && i < LUN_TABLE_PAGE; i++)
			if (nexus->pages[page][i])
				apply(nexus->pages[page][i], kind);
	pthread_mutex_unlock(&nexus->lock);
}

void attention_set_everywhere(struct scsi_nexus *nexus, enum attention kind)
{
	everywhere(nexus, kind, attention_set);
	nexus_news(nexus, kind);
}

void attention_clear_everywhere(struct scsi_nexus *nexus, enum attention kind)
{
	everywhere(nexus, kind, attention_clear);
}
