/* SPDX-License-Identifier: Apache-2.0 */
/* tmf.c: task management (SAM-5 7). A function becomes one abort order for each nexus it
 * concerns, carried out on that nexus's loop: mark, cancel, and wait until the marked tasks are
 * at their end. The answer comes when every order is drained, or when the time limit has passed:
 * a hung back end may keep a task's memory, it may not keep the initiator waiting. */
#include <assert.h>

#include "core/heap.h"
#include "target/internal.h"

#define OPERATION_PERSISTENT_RESERVE_OUT 0x5f
#define OPERATION_MODE_SELECT_6          0x15
#define OPERATION_MODE_SELECT_10         0x55

struct tmf_order {
	struct scsi_tmf_request *request; /* NULL once answered */
	struct scsi_task *preemptor;      /* PREEMPT AND ABORT or SANITIZE, in place of a request */
	void (*then)(struct scsi_task *task); /* of it, at the end */
	struct loop *loop;
	enum scsi_tmf_response response;
	struct timer timer;
	unsigned outstanding;
	unsigned count;
	struct abort_order orders[];
};

/* ---- orders on a nexus's loop */

/* What a SANITIZE ends: not itself, not what may run beside it, and not what changes reservations
 * and mode pages, which take effect or not as they say. */
static bool reaches_medium(const struct abort_order *order, const struct scsi_task *task)
{
	return task != order->sanitizes && !(task->opcode->flags & OPCODE_SANITIZE_OK) &&
	       task->cdb[0] != OPERATION_PERSISTENT_RESERVE_OUT &&
	       task->cdb[0] != OPERATION_MODE_SELECT_6 && task->cdb[0] != OPERATION_MODE_SELECT_10;
}

static bool covers(const struct abort_order *order, const struct scsi_task *task)
{
	return (!order->lu || (task->itl && task->itl->lu == order->lu)) &&
	       (!order->one_task || task->tag == order->tag) &&
	       (!order->overtaken || (int32_t)(task->number - order->before) < 0) &&
	       (!order->preempted || task->cdb[0] != OPERATION_PERSISTENT_RESERVE_OUT) &&
	       (!order->sanitizes || reaches_medium(order, task));
}

static void mark(struct abort_order *order)
{
	list_for_each (it, &order->nexus->tasks) {
		struct scsi_task *task = list_entry(it, struct scsi_task, nexus_link);

		if (!covers(order, task))
			continue;
		order->found++;
		if (task->private_flags & TASK_STARTED)
			order->waiting++;
		if (!order->sanitizes)
			task->private_flags &= ~(uint32_t)TASK_TERMINATED;
		else if (!(task->private_flags & TASK_ABORTED))
			task->private_flags |= TASK_TERMINATED;
		task->private_flags |= TASK_ABORTED;
		if (order->cleared_by_other && task->itl)
			attention_set(task->itl, ATTENTION_COMMANDS_CLEARED);
	}
}

static struct scsi_task *next_to_cancel(struct scsi_nexus *nexus)
{
	list_for_each (it, &nexus->tasks) {
		struct scsi_task *task = list_entry(it, struct scsi_task, nexus_link);
		uint32_t state =
		    task->private_flags & (TASK_ABORTED | TASK_STARTED | TASK_CANCELLED);

		if (state == (TASK_ABORTED | TASK_STARTED))
			return task;
	}
	return NULL;
}

/* Cancelling may end tasks at once, and their owner may end others: search anew each time. */
static void carry_out(struct abort_order *order)
{
	struct scsi_nexus *nexus = order->nexus;
	struct scsi_task *task;

	nexus_ref(nexus);
	order->limit = nexus->sequence;
	order->waiting = order->found = 0;
	mark(order);
	list_push_back(&nexus->orders, &order->link);
	while ((task = next_to_cancel(nexus)))
		task_cancel(task);
	tmf_answer_drained(nexus);
	nexus_unref(nexus);
}

void tmf_task_leaves(struct scsi_nexus *nexus, const struct scsi_task *task)
{
	list_for_each (it, &nexus->orders) {
		struct abort_order *order = list_entry(it, struct abort_order, link);

		if (task->sequence < order->limit && covers(order, task))
			order->waiting--;
	}
}

void tmf_answer_drained(struct scsi_nexus *nexus)
{
	bool again = true;

	while (again) { /* drained() may do anything to the list */
		again = false;
		list_for_each (it, &nexus->orders) {
			struct abort_order *order = list_entry(it, struct abort_order, link);

			if (order->waiting > 0)
				continue;
			list_remove(&order->link);
			order->drained(order);
			again = true;
			break;
		}
	}
}

/* ---- the function as a whole, on the asking nexus's loop */

static void answer(struct tmf_order *tmf)
{
	struct scsi_tmf_request *request = tmf->request;

	timer_stop(&tmf->timer);
	tmf->request = NULL;
	if (request)
		request->answered(request, tmf->response);
}

static void time_is_up(struct timer *timer)
{
	answer(container_of(timer, struct tmf_order, timer));
}

static void order_is_back(struct tmf_order *tmf)
{
	if (--tmf->outstanding > 0)
		return;
	if (tmf->preemptor)
		tmf->then(tmf->preemptor);
	else
		answer(tmf);
	heap_free(tmf);
}

static void back_home(struct message *message)
{
	struct abort_order *order = container_of(message, struct abort_order, message);

	order_is_back(order->owner);
}

static void order_drained(struct abort_order *order)
{
	struct tmf_order *tmf = order->owner;
	struct scsi_nexus *nexus = order->nexus;

	if (order->one_task && order->found == 0)
		tmf->response = SCSI_TMF_NO_SUCH_TASK;
	loop_post(tmf->loop, &order->message, back_home);
	nexus_unref(nexus);
}

static void order_arrives(struct message *message)
{
	carry_out(container_of(message, struct abort_order, message));
}

static void answer_later(struct deferred *deferred)
{
	struct scsi_tmf_request *request =
	    container_of(deferred, struct scsi_tmf_request, deferred);

	request->answered(request, request->response);
}

static void respond(struct scsi_tmf_request *request, enum scsi_tmf_response response)
{
	request->response = response;
	deferred_init(&request->deferred, answer_later);
	loop_defer(request->nexus->loop, &request->deferred);
}

struct scope {
	const struct scsi_lu *lu; /* NULL: every logical unit of the target */
	bool every_nexus;
	bool one_task;
};

static void add_order(struct tmf_order *tmf, struct scsi_nexus *nexus, const struct scope *scope)
{
	struct abort_order *order = &tmf->orders[tmf->count++];

	*order = (struct abort_order){
	    .nexus = nexus,
	    .lu = scope->lu,
	    .one_task = scope->one_task,
	    .cleared_by_other =
		tmf->request->function == SCSI_CLEAR_TASK_SET && nexus != tmf->request->nexus,
	    .overtaken = tmf->request->overtaken && nexus == tmf->request->nexus,
	    .before = tmf->request->before,
	    .tag = tmf->request->tag,
	    .drained = order_drained,
	    .owner = tmf,
	};
	list_init(&order->link);
	nexus_ref(nexus);
}

static bool seen_before(const struct tmf_order *tmf, const struct scsi_nexus *nexus)
{
	for (unsigned i = 0; i < tmf->count; i++)
		if (tmf->orders[i].nexus == nexus)
			return true;
	return false;
}

/* Topology lock held. With tmf NULL only counts. */
static unsigned collect(struct tmf_order *tmf, struct scsi_nexus *nexus, const struct scope *scope)
{
	unsigned count = 0;

	if (!scope->every_nexus) {
		if (tmf)
			add_order(tmf, nexus, scope);
		return 1;
	}
	if (!scope->lu) {
		list_for_each (it, &nexus->target->nexuses) {
			count++;
			if (tmf)
				add_order(tmf, list_entry(it, struct scsi_nexus, target_link),
					  scope);
		}
		return count;
	}
	list_for_each (it, &scope->lu->mappings) {
		struct scsi_lun_mapping *mapping = list_entry(it, struct scsi_lun_mapping, lu_link);

		list_for_each (it2, &mapping->itls) {
			struct scsi_itl *itl = list_entry(it2, struct scsi_itl, mapping_link);

			count++;
			if (tmf && !seen_before(tmf, itl->nexus))
				add_order(tmf, itl->nexus, scope);
		}
	}
	return count;
}

static struct tmf_order *make_orders(struct scsi_tmf_request *request, const struct scope *scope)
{
	struct tmf_order *tmf;
	unsigned count = collect(NULL, request->nexus, scope);

	tmf = heap_zalloc(sizeof(*tmf) + count * sizeof(tmf->orders[0]));
	if (!tmf)
		return NULL;
	tmf->request = request;
	tmf->loop = request->nexus->loop;
	tmf->response = SCSI_TMF_COMPLETE;
	timer_init(&tmf->timer, tmf->loop, time_is_up);
	collect(tmf, request->nexus, scope);
	tmf->outstanding = tmf->count;
	return tmf;
}

/* Reset conditions (SAM-5 6.3). Topology lock held. */
static void reset(const struct scsi_tmf_request *request, struct scsi_lu *lu)
{
	if (request->function == SCSI_LOGICAL_UNIT_RESET) {
		lu_reset(lu);
		lu_attention(lu, ATTENTION_LU_RESET, NULL);
		return;
	}
	list_for_each (it, &request->nexus->target->mappings) {
		struct scsi_lun_mapping *mapping =
		    list_entry(it, struct scsi_lun_mapping, target_link);

		lu_reset(mapping->lu);
		lu_attention(mapping->lu, ATTENTION_BUS_RESET, NULL);
	}
}

/* Topology lock held. */
static void nexus_loss(struct scsi_nexus *nexus)
{
	list_for_each (it, &nexus->target->mappings)
		lu_release_reservation(list_entry(it, struct scsi_lun_mapping, target_link)->lu,
				       nexus);
	attention_set_everywhere(nexus, ATTENTION_NEXUS_LOSS);
}

/* On @self here at once, so that commands that come after this function are not touched. */
static void send_orders(struct tmf_order *tmf, const struct scsi_nexus *self)
{
	for (unsigned i = 0, count = tmf->count; i < count; i++) {
		struct abort_order *order = &tmf->orders[i];

		if (order->nexus == self)
			carry_out(order);
		else
			loop_post(order->nexus->loop, &order->message, order_arrives);
	}
}

static void run(struct scsi_tmf_request *request, struct scsi_lu *lu, const struct scope *scope)
{
	struct tmf_order *tmf;
	struct scsi_nexus *self = request->nexus;

	topology_lock();
	tmf = make_orders(request, scope);
	if (tmf && (request->function == SCSI_LOGICAL_UNIT_RESET ||
		    request->function == SCSI_TARGET_WARM_RESET ||
		    request->function == SCSI_TARGET_COLD_RESET))
		reset(request, lu);
	else if (tmf && request->function == SCSI_NEXUS_RESET)
		nexus_loss(self);
	topology_unlock();
	if (!tmf) {
		respond(request, SCSI_TMF_REJECTED);
		return;
	}
	timer_start(&tmf->timer, SCSI_TMF_LIMIT_NS);
	send_orders(tmf, self);
}

/* ---- PREEMPT AND ABORT (SPC-4 5.12.11.2.6) */

/* With tmf NULL only counts. */
static unsigned collect_preempted(struct tmf_order *tmf, const struct scsi_lu *lu,
				  const struct scsi_task *sanitizes,
				  bool (*affected)(const struct scsi_itl *itl, void *context),
				  void *context)
{
	unsigned count = 0;

	list_for_each (it, &lu->mappings) {
		struct scsi_lun_mapping *mapping = list_entry(it, struct scsi_lun_mapping, lu_link);

		list_for_each (it2, &mapping->itls) {
			struct scsi_itl *itl = list_entry(it2, struct scsi_itl, mapping_link);
			struct abort_order *order;

			if (!affected(itl, context))
				continue;
			count++;
			if (!tmf || seen_before(tmf, itl->nexus))
				continue;
			order = &tmf->orders[tmf->count++];
			*order = (struct abort_order){
			    .nexus = itl->nexus,
			    .lu = lu,
			    .preempted = !sanitizes,
			    .sanitizes = sanitizes,
			    .cleared_by_other = !sanitizes && itl->nexus != tmf->preemptor->nexus,
			    .drained = order_drained,
			    .owner = tmf,
			};
			list_init(&order->link);
			nexus_ref(itl->nexus);
		}
	}
	return count;
}

static struct tmf_order *collect_for(struct scsi_task *task, const struct scsi_task *sanitizes,
				     bool (*affected)(const struct scsi_itl *itl, void *context),
				     void *context)
{
	const struct scsi_lu *lu = task->itl->lu;
	unsigned count = collect_preempted(NULL, lu, sanitizes, affected, context);
	struct tmf_order *tmf = heap_zalloc(sizeof(*tmf) + count * sizeof(tmf->orders[0]));

	if (!tmf)
		return NULL;
	tmf->preemptor = task;
	tmf->then = task_finish;
	tmf->loop = task->nexus->loop;
	collect_preempted(tmf, lu, sanitizes, affected, context);
	tmf->outstanding = tmf->count;
	return tmf;
}

struct tmf_order *tmf_preempt_collect(struct scsi_task *task,
				      bool (*affected)(const struct scsi_itl *itl, void *context),
				      void *context)
{
	return collect_for(task, NULL, affected, context);
}

static bool everybody(const struct scsi_itl *itl, void *context)
{
	(void)itl;
	(void)context;
	return true;
}

struct tmf_order *tmf_sanitize_collect(struct scsi_task *task, void (*then)(struct scsi_task *task))
{
	struct tmf_order *tmf = collect_for(task, task, everybody, NULL);

	if (tmf)
		tmf->then = then;
	return tmf;
}

void tmf_preempt_run(struct tmf_order *tmf)
{
	if (tmf->count == 0) {
		tmf->outstanding = 1;
		order_is_back(tmf);
		return;
	}
	send_orders(tmf, tmf->preemptor->nexus);
}

static enum scsi_tmf_response query(const struct scsi_nexus *nexus, const struct scsi_itl *itl,
				    enum scsi_tmf function, uint64_t tag)
{
	if (function == SCSI_QUERY_ASYNC_EVENT)
		return attention_pending(itl) ? SCSI_TMF_SUCCEEDED : SCSI_TMF_COMPLETE;
	list_for_each (it, &nexus->tasks) {
		const struct scsi_task *task = list_entry(it, struct scsi_task, nexus_link);

		if (task->itl == itl && (function == SCSI_QUERY_TASK_SET || task->tag == tag))
			return SCSI_TMF_SUCCEEDED;
	}
	return SCSI_TMF_COMPLETE;
}

void scsi_tmf_submit(struct scsi_tmf_request *request)
{
	enum scsi_tmf function = request->function;
	bool whole = function == SCSI_TARGET_WARM_RESET || function == SCSI_TARGET_COLD_RESET ||
		     function == SCSI_NEXUS_RESET;
	struct scsi_itl *itl = nexus_find(request->nexus, lun_decode(request->lun));
	struct scope scope = {
	    .lu = whole || !itl ? NULL : itl->lu,
	    .one_task = function == SCSI_ABORT_TASK,
	    .every_nexus = function == SCSI_CLEAR_TASK_SET || function == SCSI_LOGICAL_UNIT_RESET ||
			   function == SCSI_TARGET_WARM_RESET || function == SCSI_TARGET_COLD_RESET,
	};

	if (!whole && !itl) {
		respond(request, SCSI_TMF_NO_SUCH_LUN);
		return;
	}
	switch (function) {
	case SCSI_CLEAR_ACA: /* NORMACA is 0 */
		respond(request, SCSI_TMF_NOT_SUPPORTED);
		return;
	case SCSI_QUERY_TASK:
	case SCSI_QUERY_TASK_SET:
	case SCSI_QUERY_ASYNC_EVENT:
		respond(request, query(request->nexus, itl, function, request->tag));
		return;
	case SCSI_ABORT_TASK:
	case SCSI_ABORT_TASK_SET:
	case SCSI_CLEAR_TASK_SET:
	case SCSI_LOGICAL_UNIT_RESET:
	case SCSI_TARGET_WARM_RESET:
	case SCSI_TARGET_COLD_RESET:
	case SCSI_NEXUS_RESET:
		run(request, itl ? itl->lu : NULL, &scope);
		return;
	}
	respond(request, SCSI_TMF_NOT_SUPPORTED);
}

/* ---- the end of a nexus */

static void report_drained(struct deferred *deferred)
{
	struct scsi_nexus *nexus = container_of(deferred, struct scsi_nexus, drained_deferred);
	void (*drained)(void *context) = nexus->drained;

	nexus->drained = NULL;
	drained(nexus->drained_context);
}

static void all_drained(struct abort_order *order)
{
	loop_defer(order->nexus->loop, &order->nexus->drained_deferred);
}

void scsi_nexus_abort_all(struct scsi_nexus *nexus, void (*drained)(void *context), void *context)
{
	assert(!nexus->drained);
	nexus->drained = drained;
	nexus->drained_context = context;
	deferred_init(&nexus->drained_deferred, report_drained);
	nexus->abort_all = (struct abort_order){.nexus = nexus, .drained = all_drained};
	list_init(&nexus->abort_all.link);
	carry_out(&nexus->abort_all);
}
