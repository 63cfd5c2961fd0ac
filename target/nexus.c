/* SPDX-License-Identifier: Apache-2.0 */
/* nexus.c: I_T nexuses and their LUN tables. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "target/internal.h"

static struct scsi_itl **slot_of(struct scsi_nexus *nexus, unsigned lun)
{
	struct scsi_itl **page = nexus->pages[lun / LUN_TABLE_PAGE];

	return page ? &page[lun % LUN_TABLE_PAGE] : NULL;
}

struct scsi_itl *nexus_find(struct scsi_nexus *nexus, int lun)
{
	struct scsi_itl **slot, *itl = NULL;

	if (lun < 0)
		return NULL;
	pthread_mutex_lock(&nexus->lock);
	slot = slot_of(nexus, (unsigned)lun);
	if (slot)
		itl = *slot;
	pthread_mutex_unlock(&nexus->lock);
	return itl;
}

struct scsi_itl *nexus_find_naa(struct scsi_nexus *nexus, const uint8_t naa[16])
{
	struct scsi_itl *found = NULL;

	pthread_mutex_lock(&nexus->lock);
	for (unsigned page = 0; page < LUN_TABLE_PAGES && !found; page++)
		for (unsigned i = 0; nexus->pages[page] && i < LUN_TABLE_PAGE && !found; i++) {
			struct scsi_itl *itl = nexus->pages[page][i];

			if (itl && memcmp(itl->lu->volume->identity.naa, naa, 16) == 0)
				found = itl;
		}
	pthread_mutex_unlock(&nexus->lock);
	return found;
}

struct scsi_itl *nexus_itl(struct scsi_nexus *nexus, const struct scsi_lun_mapping *mapping)
{
	struct scsi_itl *itl = nexus_find(nexus, (int)mapping->lun);

	return itl && itl->mapping == mapping ? itl : NULL;
}

int nexus_attach(struct scsi_nexus *nexus, struct scsi_lun_mapping *mapping, uint32_t attentions)
{
	struct scsi_itl ***page = &nexus->pages[mapping->lun / LUN_TABLE_PAGE];
	struct scsi_itl *itl = heap_zalloc(sizeof(*itl));
	struct scsi_itl **fresh = NULL;

	if (!*page)
		fresh = heap_zalloc_array(LUN_TABLE_PAGE, sizeof(*fresh));
	if (!itl || (!*page && !fresh)) {
		heap_free(itl);
		heap_free(fresh);
		return -ENOMEM;
	}
	itl->nexus = nexus;
	itl->mapping = mapping;
	itl->lu = mapping->lu;
	itl->attentions = attentions;
	list_init(&itl->waiting);
	list_init(&itl->mapping_link);
	pr_attach(itl);
	list_push_back(&mapping->itls, &itl->mapping_link);
	pthread_mutex_lock(&nexus->lock);
	if (fresh)
		*page = fresh;
	(*page)[mapping->lun % LUN_TABLE_PAGE] = itl;
	pthread_mutex_unlock(&nexus->lock);
	return 0;
}

static void add(uint64_t *sum, const uint64_t *counter)
{
	*sum += __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Topology lock held. */
static void itl_free(struct scsi_itl *itl)
{
	struct scsi_counters *sum = &itl->mapping->retired;

	assert(itl->task_count == 0);
	add(&sum->read_ops, &itl->counters.read_ops);
	add(&sum->read_bytes, &itl->counters.read_bytes);
	add(&sum->write_ops, &itl->counters.write_ops);
	add(&sum->write_bytes, &itl->counters.write_bytes);
	add(&sum->errors, &itl->counters.errors);
	latency_itl_goes(itl);
	list_remove(&itl->mapping_link);
	mapping_settle(itl->mapping);
	heap_free(itl->results);
	heap_free(itl);
}

void nexus_retire_if_idle(struct scsi_itl *itl)
{
	struct scsi_nexus *nexus = itl->nexus;

	if (!itl->removed || itl->task_count > 0)
		return;
	topology_lock();
	lu_release_reservation(itl->lu, nexus);
	itl_free(itl);
	topology_unlock();
	nexus_unref(nexus);
}

static void retire(struct message *message)
{
	struct scsi_itl *itl = container_of(message, struct scsi_itl, retire);

	itl->removed = true;
	nexus_retire_if_idle(itl);
}

void nexus_detach(struct scsi_itl *itl)
{
	struct scsi_nexus *nexus = itl->nexus;

	pthread_mutex_lock(&nexus->lock);
	*slot_of(nexus, itl->mapping->lun) = NULL;
	pthread_mutex_unlock(&nexus->lock);
	nexus_ref(nexus); /* the message's */
	loop_post(nexus->loop, &itl->retire, retire);
}

/* ---- what an idle initiator is told */

#define NEWS_MAX   16u /* at a time; of more only the unit attentions tell */
#define NEWS_KINDS (1u << ATTENTION_LUNS_CHANGED | 1u << ATTENTION_CAPACITY_CHANGED)

struct news {
	uint32_t kinds;
	unsigned count;
	struct {
		uint8_t lun[8];
		uint16_t asc;
	} items[NEWS_MAX];
};

static void news_add(struct news *news, unsigned lun, uint16_t asc)
{
	if (!asc || news->count == NEWS_MAX)
		return;
	lun_encode(lun, news->items[news->count].lun);
	news->items[news->count++].asc = asc;
}

/* What it has heard meanwhile, with a command, is no news any more. */
static void news_of(struct news *news, const struct scsi_itl *itl)
{
	static const enum attention kinds[] = {ATTENTION_LUNS_CHANGED, ATTENTION_CAPACITY_CHANGED};

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		uint16_t asc = attention_peek(itl, kinds[i]);

		if (!asc || !(news->kinds & 1u << kinds[i]))
			continue;
		news_add(news, itl->mapping->lun, asc);
		if (kinds[i] == ATTENTION_LUNS_CHANGED) /* one says it of all */
			news->kinds &= ~(1u << kinds[i]);
	}
}

static void gather_news(struct scsi_nexus *nexus, struct news *news)
{
	unsigned luns = 0;

	pthread_mutex_lock(&nexus->lock);
	for (unsigned page = 0; page < LUN_TABLE_PAGES; page++)
		for (unsigned i = 0; nexus->pages[page] && i < LUN_TABLE_PAGE; i++)
			if (nexus->pages[page][i]) {
				luns++;
				news_of(news, nexus->pages[page][i]);
			}
	pthread_mutex_unlock(&nexus->lock);
	if (luns == 0) /* the last one is gone, and with it what would pend */
		news_add(news, 0, ASC_LUNS_CHANGED);
}

static void news_arrived(struct message *message)
{
	struct scsi_nexus *nexus = container_of(message, struct scsi_nexus, news_message);
	struct news news = {.kinds = __atomic_exchange_n(&nexus->news, 0, __ATOMIC_SEQ_CST)};

	if (nexus->told)
		gather_news(nexus, &news);
	for (unsigned i = 0; i < news.count && nexus->told; i++)
		nexus->told(nexus->told_context, news.items[i].lun, news.items[i].asc);
	nexus_unref(nexus);
}

void nexus_news(struct scsi_nexus *nexus, enum attention kind)
{
	if (!(NEWS_KINDS & 1u << kind) ||
	    !__atomic_load_n(&nexus->target->events, __ATOMIC_RELAXED) ||
	    __atomic_fetch_or(&nexus->news, 1u << kind, __ATOMIC_SEQ_CST))
		return;
	nexus_ref(nexus); /* the message's */
	loop_post(nexus->loop, &nexus->news_message, news_arrived);
}

void scsi_nexus_listen(struct scsi_nexus *nexus, scsi_told told, void *context)
{
	nexus->told = told;
	nexus->told_context = context;
}

void nexus_ref(struct scsi_nexus *nexus)
{
	__atomic_fetch_add(&nexus->refs, 1, __ATOMIC_RELAXED);
}

void nexus_unref(struct scsi_nexus *nexus)
{
	if (__atomic_fetch_sub(&nexus->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	for (unsigned i = 0; i < LUN_TABLE_PAGES; i++)
		heap_free(nexus->pages[i]);
	pthread_mutex_destroy(&nexus->lock);
	heap_free(nexus);
}

/* Topology lock held. */
static void detach_all(struct scsi_nexus *nexus)
{
	for (unsigned lun = 0; lun <= SCSI_LUN_MAX; lun++) {
		struct scsi_itl **slot = slot_of(nexus, lun);

		if (!slot) {
			lun += LUN_TABLE_PAGE - 1;
		} else if (*slot) {
			lu_release_reservation((*slot)->lu, nexus);
			itl_free(*slot);
			*slot = NULL;
		}
	}
}

static struct scsi_nexus *nexus_new(struct scsi_target *target, const char *initiator_port,
				    const char *target_port, uint16_t relative_port)
{
	struct scsi_nexus *nexus = heap_zalloc(sizeof(*nexus));

	if (!nexus)
		return NULL;
	nexus->refs = 1;
	nexus->target = target;
	nexus->loop = loop_current();
	assert(nexus->loop);
	nexus->relative_port = relative_port;
	snprintf(nexus->initiator_port, sizeof(nexus->initiator_port), "%s", initiator_port);
	snprintf(nexus->target_port, sizeof(nexus->target_port), "%s", target_port);
	pthread_mutex_init(&nexus->lock, NULL);
	list_init(&nexus->orders);
	list_init(&nexus->tasks);
	list_init(&nexus->target_link);
	list_init(&nexus->client_link);
	return nexus;
}

/* The LUNs it sees; in the target's list once it has all of them. Topology lock held. */
static int join(struct scsi_nexus *nexus)
{
	struct scsi_target *target = nexus->target;
	int error = nexus->port ? 0 : -ENOSPC;

	list_for_each (it, &target->mappings) {
		struct scsi_lun_mapping *mapping =
		    list_entry(it, struct scsi_lun_mapping, target_link);

		if (!error && mapping_visible(mapping, nexus))
			error = nexus_attach(nexus, mapping, 1u << ATTENTION_POWER_ON);
	}
	if (!error)
		list_push_back(&target->nexuses, &nexus->target_link);
	else
		detach_all(nexus);
	return error;
}

static int joined(struct scsi_nexus *nexus, int error, struct scsi_nexus **ret_nexus,
		  struct err *err)
{
	if (error) {
		nexus_unref(nexus);
		return err_set(err, error, "no memory for the LUN table of an I_T nexus");
	}
	*ret_nexus = nexus;
	return 0;
}

int scsi_nexus_create(struct scsi_target *target, const char *initiator_port,
		      const char *target_port, uint16_t relative_port,
		      struct scsi_nexus **ret_nexus, struct err *err)
{
	struct scsi_nexus *nexus;
	int error;

	if (strlen(initiator_port) >= sizeof(nexus->initiator_port) ||
	    strlen(target_port) >= sizeof(nexus->target_port))
		return err_set(err, -EINVAL, "a port name is too long");
	nexus = nexus_new(target, initiator_port, target_port, relative_port);
	if (!nexus)
		return err_set(err, -ENOMEM, "no memory for an I_T nexus");
	topology_lock();
	nexus->port = alua_add_port(target, relative_port);
	if (nexus->port)
		alua_port(target, relative_port)->open = true;
	error = join(nexus);
	if (!error)
		latency_nexus_comes(nexus);
	topology_unlock();
	return joined(nexus, error, ret_nexus, err);
}

/* A port that serves, if there is one. Topology lock held. */
static const struct scsi_port *best_port(const struct scsi_target *target)
{
	const struct scsi_port *best = NULL;

	for (unsigned i = 0; i < target->port_count; i++)
		if (target->ports[i].open && (!best || target->ports[i].access < best->access))
			best = &target->ports[i];
	return best;
}

int nexus_create_for(struct scsi_target *target, unsigned lun, struct scsi_nexus **ret_nexus,
		     struct err *err)
{
	struct scsi_nexus *nexus =
	    nexus_new(target, "iqn.2026-11.org.granary:check,i,0x800000000000", "", 0);
	int error;

	if (!nexus)
		return err_set(err, -ENOMEM, "no memory for an I_T nexus");
	topology_lock();
	nexus->only = target_find_mapping(target, lun);
	nexus->port = best_port(target);
	if (nexus->port)
		nexus->relative_port = nexus->port->group;
	snprintf(nexus->target_port, sizeof(nexus->target_port), "%s,t,0x%04x", target->name,
		 nexus->relative_port);
	error = nexus->only && nexus->port ? join(nexus) : -ENOENT;
	topology_unlock();
	if (error == -ENOENT) {
		nexus_unref(nexus);
		return err_set(err, error, "%s has no LUN %u, or no portal", target->name, lun);
	}
	return joined(nexus, error, ret_nexus, err);
}

void scsi_nexus_destroy(struct scsi_nexus *nexus)
{
	if (!nexus)
		return;
	nexus->told = NULL;
	topology_lock();
	list_remove(&nexus->target_link);
	detach_all(nexus);
	latency_nexus_goes(nexus);
	topology_unlock();
	nexus_unref(nexus);
}
