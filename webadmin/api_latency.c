/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "core/size.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/directory.h"
#include "webadmin/share.h"

/* How long commands take: histograms of volumes and initiators, of shares, clients and operations
 * of NFS, and the last slow commands and requests with what they waited for. */

#define SLOW_SETTING  "slow_limit_ns"
#define SLOW_DEFAULT  (500 * 1000000ull)
#define SLOW_LEAST_NS 1000000ull
#define SLOW_MOST_NS  (3600 * 1000000000ull)

/* ---- histograms ---- */
static json_t *show_latency(const struct latency *latency)
{
	json_t *buckets = json_array();

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		json_array_append_new(buckets, json_integer((json_int_t)latency->bucket[i]));
	return json_pack("{s:I,s:I,s:o}", "count", (json_int_t)latency_total(latency), "sum_ns",
			 (json_int_t)latency->sum_ns, "buckets", buckets);
}

static json_t *show_latencies(const struct webadmin *admin, const struct latency *read,
			      const struct latency *write)
{
	json_t *bounds = json_array();

	for (unsigned i = 0; i + 1 < LATENCY_BUCKETS; i++)
		json_array_append_new(bounds, json_integer((json_int_t)latency_bound_ns(i)));
	return json_pack("{s:I,s:o,s:o,s:o}", "at_ms",
			 (json_int_t)(loop_wall(admin->options.control) / 1000000u), "bounds_ns",
			 bounds, "read", show_latency(read), "write", show_latency(write));
}

void api_volume_latency(struct api_request *request)
{
	struct scsi_latencies sum = {0};
	struct model_target *target;
	struct model_lun *lun = NULL;
	const char *code = NULL;

	request->volume = model_find_volume(request->model, request->match.param[0],
					    request->match.param[1], &code, &request->err);
	if (!request->volume) {
		api_reply_failure(request, code);
		return;
	}
	while ((lun = model_lun_of_volume(request->model, request->volume->identity.uuid, lun,
					  &target)))
		if (target->live)
			(void)scsi_target_latency(iscsi_target_scsi(target->live), lun->lun, &sum);
	api_reply(request, 200, show_latencies(request->admin, &sum.read, &sum.write));
}

static void take_client(void *context, const char *name, const struct scsi_latencies *latencies)
{
	(void)name;
	*(struct scsi_latencies *)context = *latencies;
}

void api_initiator_latency(struct api_request *request)
{
	struct scsi_latencies sum = {0}; /* one that never came has done nothing */

	scsi_client_latency(request->match.param[0], take_client, &sum);
	api_reply(request, 200, show_latencies(request->admin, &sum.read, &sum.write));
}

/* Of a share or a client of NFS: what is neither READ nor WRITE as well, and the bytes. */
static json_t *show_tally(const struct webadmin *admin, const struct nfs_tally *tally)
{
	json_t *object = show_latencies(admin, &tally->latency[NFS_CLASS_READ],
					&tally->latency[NFS_CLASS_WRITE]);

	json_object_set_new(object, "commit", show_latency(&tally->latency[NFS_CLASS_COMMIT]));
	json_object_set_new(object, "other", show_latency(&tally->latency[NFS_CLASS_OTHER]));
	json_object_set_new(object, "read_bytes", json_integer((json_int_t)tally->read_bytes));
	json_object_set_new(object, "write_bytes", json_integer((json_int_t)tally->write_bytes));
	return object;
}

static void reply_share(struct api_request *request, const char *name)
{
	const struct nfs_server *nfs = request->admin->options.nfs;
	struct nfs_tally sum = {0}; /* one that is not exported has done nothing */
	char path[NFS_PATH_MAX + 1];

	snprintf(path, sizeof path, "/%s", name);
	if (nfs)
		(void)nfs_share_tally(nfs, path, &sum);
	api_reply(request, 200, show_tally(request->admin, &sum));
}

void api_share_latency(struct api_request *request)
{
	const char *pool = request->match.param[0], *name = request->match.param[1];

	if (model_share_find(request->model, pool, name))
		reply_share(request, name);
	else
		api_reply_error(request, 404, "share_not_found", "no share named %s/%s", pool,
				name);
}

void api_directory_latency(struct api_request *request)
{
	const char *name = request->match.param[0];

	if (model_directory_find(request->model, name))
		reply_share(request, name);
	else
		api_reply_error(request, 404, "directory_not_found", "no directory named %s", name);
}

static void take_tally(void *context, const char *name, const struct nfs_tally *tally)
{
	(void)name;
	*(struct nfs_tally *)context = *tally;
}

void api_nfs_host_latency(struct api_request *request)
{
	const struct nfs_server *nfs = request->admin->options.nfs;
	struct nfs_tally sum = {0}; /* one that never came has done nothing */

	if (nfs)
		nfs_client_tallies(nfs, request->match.param[0], take_tally, &sum);
	api_reply(request, 200, show_tally(request->admin, &sum));
}

static double ms(uint64_t ns)
{
	return (double)ns / 1e6;
}

/* {PREFIX}mean_ms and {PREFIX}slowest_ms, for tables. */
static void add_times(json_t *object, const char *prefix, const struct latency *latency)
{
	static const struct latency none;
	uint64_t count = latency_total(latency);
	char name[32];

	snprintf(name, sizeof name, "%smean_ms", prefix);
	json_object_set_new(object, name, json_real(count ? ms(latency->sum_ns / count) : 0.0));
	snprintf(name, sizeof name, "%sslowest_ms", prefix);
	json_object_set_new(object, name, json_real(ms(latency_slowest_ns(&none, latency))));
}

static void add_host(void *context, const char *address, const struct nfs_tally *tally)
{
	const struct latency *read = &tally->latency[NFS_CLASS_READ],
			     *write = &tally->latency[NFS_CLASS_WRITE];
	json_t *object = json_pack(
	    "{s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "address", address, "reads",
	    (json_int_t)latency_total(read), "read_bytes", (json_int_t)tally->read_bytes, "writes",
	    (json_int_t)latency_total(write), "write_bytes", (json_int_t)tally->write_bytes,
	    "commits", (json_int_t)latency_total(&tally->latency[NFS_CLASS_COMMIT]), "others",
	    (json_int_t)latency_total(&tally->latency[NFS_CLASS_OTHER]));

	add_times(object, "read_", read);
	add_times(object, "write_", write);
	json_array_append_new(context, object);
}

void api_nfs_host_list(struct api_request *request)
{
	const struct nfs_server *nfs = request->admin->options.nfs;
	json_t *list = json_array();

	if (nfs)
		nfs_client_tallies(nfs, NULL, add_host, list);
	api_reply(request, 200, list);
}

static void add_operation(void *context, const struct nfs_operation_info *info)
{
	json_t *object = json_pack("{s:s,s:s,s:I,s:I}", "version", info->version, "operation",
				   info->name, "count", (json_int_t)latency_total(&info->latency),
				   "errors", (json_int_t)info->errors);

	add_times(object, "", &info->latency);
	json_array_append_new(context, object);
}

void api_nfs_operation_list(struct api_request *request)
{
	const struct nfs_server *nfs = request->admin->options.nfs;
	json_t *list = json_array();

	if (nfs)
		nfs_operation_tallies(nfs, add_operation, list);
	api_reply(request, 200, list);
}

/* ---- slow commands ---- */
void slow_load(struct webadmin *admin)
{
	char text[24];
	uint64_t limit;

	webadmin_setting(admin, SLOW_SETTING, text, sizeof text);
	limit = text[0] ? strtoull(text, NULL, 10) : SLOW_DEFAULT;
	latency_set_slow_limit(limit);
}

/* What was waited for: the parts of a SCSI command, and of a request of NFS those in queues and in
 * the share, where file system, journal and devices are not told apart. */
#define SHARE SCSI_SLOW_PARTS
#define PARTS (SCSI_SLOW_PARTS + 1)
static const char *const parts[PARTS] = {[SCSI_SLOW_INITIATOR] = "initiator",
					 [SCSI_SLOW_QUEUE] = "queue",
					 [SCSI_SLOW_ENGINE] = "engine",
					 [SCSI_SLOW_DEVICE] = "device",
					 [SHARE] = "share"};

/* What both kinds have; the others are empty until they are set. */
static json_t *show_entry(uint64_t number, uint64_t wall_ns, const char *protocol,
			  const char *initiator, const char *command, uint64_t total_ns,
			  const uint64_t part_ns[PARTS])
{
	json_t *object;
	unsigned most = 0;

	for (unsigned i = 1; i < PARTS; i++) {
		if (part_ns[i] > part_ns[most])
			most = i;
	}
	object = json_pack(
	    "{s:I,s:I,s:s,s:s,s:s,s:i,s:s,s:s,s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:f,s:s,s:b}", "number",
	    (json_int_t)number, "at_ms", (json_int_t)(wall_ns / 1000000u), "protocol", protocol,
	    "initiator", initiator, "target", "", "lun", 0, "pool", "", "volume", "", "share", "",
	    "version", "", "command", command, "operation", command, "lba", (json_int_t)0, "blocks",
	    (json_int_t)0, "bytes", (json_int_t)0, "total_ms", ms(total_ns), "waited_for",
	    parts[most], "aborted", 0);
	for (unsigned i = 0; object && i < PARTS; i++) {
		char name[24];

		snprintf(name, sizeof name, "%s_ms", parts[i]);
		json_object_set_new(object, name, json_real(ms(part_ns[i])));
	}
	return object;
}

/* The LUN's volume as it is mapped now. */
static void show_volume_of(struct api_request *request, const struct scsi_slow *slow,
			   json_t *object)
{
	struct model_target *target = model_target_find(request->model, slow->target);

	if (!target)
		return;
	list_for_each (it, &target->luns) {
		const struct model_lun *lun = list_entry(it, struct model_lun, link);

		if (lun->lun == slow->lun) {
			json_object_set_new(object, "pool", json_string(lun->pool));
			json_object_set_new(object, "volume", json_string(lun->volume_name));
		}
	}
}

static json_t *show_command(struct api_request *request, const struct scsi_slow *slow)
{
	uint64_t part_ns[PARTS] = {0};
	json_t *object;

	memcpy(part_ns, slow->part_ns, sizeof slow->part_ns);
	object = show_entry(slow->number, slow->wall_ns, "iscsi", slow->initiator, slow->command,
			    slow->total_ns, part_ns);
	if (!object)
		return NULL;
	json_object_set_new(object, "target", json_string(slow->target));
	json_object_set_new(object, "lun", json_integer((json_int_t)slow->lun));
	json_object_set_new(object, "lba", json_integer((json_int_t)slow->lba));
	json_object_set_new(object, "blocks", json_integer((json_int_t)slow->blocks));
	json_object_set_new(object, "aborted", json_boolean(slow->aborted));
	show_volume_of(request, slow, object);
	return object;
}

/* The pool of the share that has the path now; a directory of the host has none. */
static const char *pool_of(struct api_request *request, const char *name)
{
	list_for_each (it, &request->model->shares) {
		const struct model_share *share = list_entry(it, struct model_share, link);

		if (strcmp(share->name, name) == 0)
			return share->pool;
	}
	return "";
}

static json_t *show_request(struct api_request *request, const struct nfs_slow *slow)
{
	uint64_t part_ns[PARTS] = {
	    [SHARE] = slow->share_ns, [SCSI_SLOW_QUEUE] = slow->total_ns - slow->share_ns};
	const char *name = slow->path[0] ? slow->path + 1 : "";
	json_t *object = show_entry(slow->number, slow->wall_ns, "nfs", slow->client, slow->command,
				    slow->total_ns, part_ns);

	if (!object)
		return NULL;
	json_object_set_new(object, "pool", json_string(pool_of(request, name)));
	json_object_set_new(object, "share", json_string(name));
	json_object_set_new(object, "version", json_string(slow->version));
	json_object_set_new(object, "operation", json_string(slow->operation));
	json_object_set_new(object, "bytes", json_integer((json_int_t)slow->bytes));
	return object;
}

/* One list of two: the newest SLOW_SHOWN, by their numbers. */
#define SLOW_SHOWN 256u
_Static_assert(SLOW_SHOWN <= SCSI_SLOW_MAX, "enough of them are kept");
_Static_assert(SLOW_SHOWN <= NFS_SLOW_MAX, "enough of them are kept");

struct slow_lists {
	struct scsi_slow commands[SLOW_SHOWN];
	struct nfs_slow requests[SLOW_SHOWN];
};

void api_slow_show(struct api_request *request)
{
	struct slow_lists *lists = heap_zalloc(sizeof *lists);
	unsigned commands, requests, c = 0, r = 0;
	uint64_t seen = 0;
	json_t *list;

	if (!lists) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	list = json_array();
	commands = scsi_slow_list(lists->commands, SLOW_SHOWN);
	requests = nfs_slow_list(lists->requests, SLOW_SHOWN);
	while (c + r < SLOW_SHOWN && (c < commands || r < requests)) {
		const struct scsi_slow *command = c < commands ? &lists->commands[c] : NULL;
		const struct nfs_slow *other = r < requests ? &lists->requests[r] : NULL;

		if (command && (!other || command->number > other->number)) {
			seen = c + r ? seen : command->number;
			json_array_append_new(list, show_command(request, command));
			c++;
		} else {
			seen = c + r ? seen : other->number;
			json_array_append_new(list, show_request(request, other));
			r++;
		}
	}
	heap_free(lists);
	api_reply(request, 200,
		  json_pack("{s:f,s:I,s:o}", "limit_ms", ms(latency_slow_limit()), "seen",
			    (json_int_t)seen, "commands", list));
}

json_t *slow_show_wanted(void)
{
	uint64_t limit = latency_slow_limit();

	return limit ? json_sprintf("%" PRIu64 "ms", limit / 1000000) : json_string("none");
}

void api_slow_change(struct api_request *request)
{
	struct config *config = request->admin->options.config;
	const char *text;
	char number[24];
	uint64_t limit = 0;
	int result = 0;

	if (!api_unpack(request, "{s:s}", "limit", &text))
		return;
	if (strcmp(text, "0") != 0 && strcmp(text, "none") != 0)
		result = duration_parse(text, &limit, &request->err);
	if (result < 0 || (limit && (limit < SLOW_LEAST_NS || limit > SLOW_MOST_NS))) {
		api_reply_error(request, 400, "bad_limit",
				"the limit of slow commands is 1ms to 1h, or none");
		return;
	}
	snprintf(number, sizeof number, "%" PRIu64, limit);
	result = config_begin(config, &request->err);
	if (result == 0)
		result = webadmin_set_setting(request->admin, SLOW_SETTING, number, &request->err);
	if (result == 0)
		result = api_commit(request);
	if (result < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		api_reply_dry(request, json_string("slow commands"),
			      json_pack("{s:f}", "limit_ms", ms(latency_slow_limit())),
			      json_pack("{s:f}", "limit_ms", ms(limit)));
		return;
	}
	latency_set_slow_limit(limit);
	log_notice("commands that take longer than %s are kept", limit ? text : "(none)");
	api_reply(request, 200, json_pack("{s:f}", "limit_ms", ms(limit)));
}
