/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/heap.h"
#include "replication/replication.h"
#include "webadmin/admin.h"
#include "webadmin/alert.h"
#include "webadmin/alert_channel.h"
#include "webadmin/api.h"
#include "webadmin/bin.h"

/* GET /metrics: Prometheus' text format (version 0.0.4). Base units; a label only where its values
 * are named by the administrator (pool, volume, target, lun), and no more than SERIES_MAX objects
 * of a kind: what is left out is counted in granary_metrics_left_out. All of it is read from the
 * live objects when it is asked for. Initiators' names are labels too: iscsi_name_check() bounds
 * what they may hold, and SCSI_CLIENTS_MAX how many there are; so are addresses of NFS clients, up
 * to NFS_STATS_CLIENTS_MAX, and paths of shares. */
#define SERIES_MAX 4096u

struct page {
	FILE *out;
	struct api_request *request;
	unsigned left_out;
};

static void head(struct page *page, const char *name, const char *type, const char *help)
{
	fprintf(page->out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Names hold no quotes, backslashes or line ends (volume_name_check, iscsi_name_check). */
static void sample(struct page *page, const char *name, const char *labels, uint64_t value)
{
	fprintf(page->out, "%s%s %" PRIu64 "\n", name, labels, value);
}

static uint64_t pool_up(const struct pool_info *info)
{
	return !info->read_only;
}
static uint64_t pool_size(const struct pool_info *info)
{
	return info->size_bytes;
}
static uint64_t pool_used(const struct pool_info *info)
{
	return info->used_bytes;
}
static uint64_t pool_free(const struct pool_info *info)
{
	return info->free_bytes;
}
static uint64_t pool_provisioned(const struct pool_info *info)
{
	return info->provisioned_bytes;
}
static uint64_t pool_volumes(const struct pool_info *info)
{
	return info->volume_count;
}
static uint64_t pool_errors(const struct pool_info *info)
{
	return info->checksum_errors;
}
static uint64_t pool_data_repairs(const struct pool_info *info)
{
	return info->data_repairs;
}
static uint64_t pool_repairs(const struct pool_info *info)
{
	return info->metadata_repairs;
}

static const struct {
	const char *name, *type, *help;
	uint64_t (*value)(const struct pool_info *info);
} pool_metrics[] = {
    {"granary_pool_up", "gauge", "1 when the pool serves reads and writes.", pool_up},
    {"granary_pool_size_bytes", "gauge", "Room for data.", pool_size},
    {"granary_pool_used_bytes", "gauge", "Allocated to data.", pool_used},
    {"granary_pool_free_bytes", "gauge", "Not allocated.", pool_free},
    {"granary_pool_provisioned_bytes", "gauge", "Sum of the volumes' sizes.", pool_provisioned},
    {"granary_pool_volumes", "gauge", "Number of volumes.", pool_volumes},
    {"granary_pool_checksum_errors_total", "counter",
     "Bad checksums met since the pool was opened.", pool_errors},
    {"granary_pool_data_repairs_total", "counter",
     "Slots of one copy of a mirrored volume mended since the pool was opened.", pool_data_repairs},
    {"granary_pool_metadata_repairs_total", "counter",
     "Bad metadata copies mended since the pool was opened.", pool_repairs},
};

static void print_pools(struct page *page)
{
	for (unsigned i = 0; i < sizeof pool_metrics / sizeof *pool_metrics; i++) {
		head(page, pool_metrics[i].name, pool_metrics[i].type, pool_metrics[i].help);
		list_for_each (it, &page->request->model->pools) {
			struct model_pool *pool = list_entry(it, struct model_pool, link);
			struct pool_info info = {.read_only = true};
			char labels[POOL_NAME_MAX + 32];

			if (pool->pool)
				pool_get_info(pool->pool, &info);
			else if (i)
				continue; /* only that it is not up is known */
			snprintf(labels, sizeof labels, "{pool=\"%s\"}", pool->name);
			sample(page, pool_metrics[i].name, labels, pool_metrics[i].value(&info));
		}
	}
}

static void print_volumes(struct page *page, const char *name, const char *help, bool used)
{
	unsigned count = 0;

	head(page, name, "gauge", help);
	list_for_each (it, &page->request->model->pools) {
		struct pool *pool = list_entry(it, struct model_pool, link)->pool;
		struct volume *volume = NULL;

		while (pool && (volume = pool_volume_next(pool, volume))) {
			char labels[POOL_NAME_MAX + VOLUME_NAME_MAX + 32];

			if (model_hides(page->request->model, volume) || count++ >= SERIES_MAX)
				continue;
			snprintf(labels, sizeof labels, "{pool=\"%s\",volume=\"%s\"}",
				 pool_name(pool), volume->name);
			sample(page, name, labels,
			       used ? volume_used_bytes(volume) : volume_size(volume));
		}
	}
	if (!used && count > SERIES_MAX)
		page->left_out += count - SERIES_MAX;
}

static uint64_t lun_reads(const struct scsi_lun_info *info)
{
	return info->read_ops;
}
static uint64_t lun_read_bytes(const struct scsi_lun_info *info)
{
	return info->read_bytes;
}
static uint64_t lun_writes(const struct scsi_lun_info *info)
{
	return info->write_ops;
}
static uint64_t lun_write_bytes(const struct scsi_lun_info *info)
{
	return info->write_bytes;
}
static uint64_t lun_errors(const struct scsi_lun_info *info)
{
	return info->errors;
}

static const struct {
	const char *name, *help;
	uint64_t (*value)(const struct scsi_lun_info *info);
} lun_metrics[] = {
    {"granary_lun_reads_total", "READ commands since the LUN was mapped.", lun_reads},
    {"granary_lun_read_bytes_total", "Bytes read since the LUN was mapped.", lun_read_bytes},
    {"granary_lun_writes_total", "WRITE commands since the LUN was mapped.", lun_writes},
    {"granary_lun_written_bytes_total", "Bytes written since the LUN was mapped.", lun_write_bytes},
    {"granary_lun_errors_total", "Commands that ended with an error.", lun_errors},
};

static void print_luns(struct page *page)
{
	for (unsigned i = 0; i < sizeof lun_metrics / sizeof *lun_metrics; i++) {
		unsigned count = 0;

		head(page, lun_metrics[i].name, "counter", lun_metrics[i].help);
		list_for_each (it, &page->request->model->targets) {
			struct model_target *target = list_entry(it, struct model_target, link);
			struct scsi_lun_info info;
			int lun = -1;

			while (target->live &&
			       scsi_target_next_lun(iscsi_target_scsi(target->live), lun, &info)) {
				char labels[SCSI_NAME_MAX + 48];

				lun = (int)info.lun;
				if (count++ >= SERIES_MAX)
					continue;
				snprintf(labels, sizeof labels, "{target=\"%s\",lun=\"%d\"}",
					 target->iqn, lun);
				sample(page, lun_metrics[i].name, labels,
				       lun_metrics[i].value(&info));
			}
		}
		if (i == 0 && count > SERIES_MAX)
			page->left_out += count - SERIES_MAX;
	}
}

/* A histogram's lines: many, so that there is a bound on objects and one on the page, which has to
 * fit into a message of the control socket. */
#define HISTOGRAMS_MAX 512u
#define PAGE_MAX       (3u << 20)

/* Seconds, without what floating point would make of them. */
static void print_seconds(FILE *out, uint64_t ns)
{
	fprintf(out, "%" PRIu64 ".%09" PRIu64, ns / 1000000000u, ns % 1000000000u);
}

static void print_histogram(FILE *out, const char *name, const char *labels, const char *operation,
			    const struct latency *latency)
{
	uint64_t count = 0;

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		uint64_t bound = latency_bound_ns(i);

		count += latency->bucket[i];
		fprintf(out, "%s_bucket{%s,operation=\"%s\",le=\"", name, labels, operation);
		if (bound)
			print_seconds(out, bound);
		else
			fputs("+Inf", out);
		fprintf(out, "\"} %" PRIu64 "\n", count);
	}
	fprintf(out, "%s_sum{%s,operation=\"%s\"} ", name, labels, operation);
	print_seconds(out, latency->sum_ns);
	fprintf(out, "\n%s_count{%s,operation=\"%s\"} %" PRIu64 "\n", name, labels, operation,
		count);
}

/* What never did anything has no lines. */
static void print_latencies(struct page *page, const char *name, const char *labels,
			    const struct scsi_latencies *latencies, unsigned *printed)
{
	if (latency_total(&latencies->read) == 0 && latency_total(&latencies->write) == 0)
		return;
	if (*printed >= HISTOGRAMS_MAX || ftell(page->out) > (long)PAGE_MAX) {
		page->left_out++;
		return;
	}
	(*printed)++;
	print_histogram(page->out, name, labels, "read", &latencies->read);
	print_histogram(page->out, name, labels, "write", &latencies->write);
}

#define LUN_LATENCY    "granary_lun_command_duration_seconds"
#define CLIENT_LATENCY "granary_initiator_command_duration_seconds"

static void print_lun_latencies(struct page *page)
{
	unsigned printed = 0;

	head(page, LUN_LATENCY, "histogram",
	     "READ and WRITE commands of a LUN, from the command to its status.");
	list_for_each (it, &page->request->model->targets) {
		struct model_target *target = list_entry(it, struct model_target, link);

		list_for_each (other, &target->luns) {
			const struct model_lun *lun = list_entry(other, struct model_lun, link);
			struct scsi_latencies sum = {0};
			char labels[SCSI_NAME_MAX + 48];

			if (!target->live ||
			    !scsi_target_latency(iscsi_target_scsi(target->live), lun->lun, &sum))
				continue;
			snprintf(labels, sizeof labels, "target=\"%s\",lun=\"%u\"", target->iqn,
				 lun->lun);
			print_latencies(page, LUN_LATENCY, labels, &sum, &printed);
		}
	}
}

struct client_page {
	struct page *page;
	unsigned printed;
};

static void print_client(void *context, const char *name, const struct scsi_latencies *latencies)
{
	struct client_page *clients = context;
	char labels[SCSI_NAME_MAX + 16];

	snprintf(labels, sizeof labels, "initiator=\"%s\"", name);
	print_latencies(clients->page, CLIENT_LATENCY, labels, latencies, &clients->printed);
}

/* An initiator's name is one that a login had: as long as those have sessions, and the last that
 * had some, SCSI_CLIENTS_MAX in all. */
static void print_client_latencies(struct page *page)
{
	struct client_page clients = {.page = page};

	head(page, CLIENT_LATENCY, "histogram",
	     "READ and WRITE commands of an initiator, all LUNs together.");
	scsi_client_latency(NULL, print_client, &clients);
}

/* ---- NFS */
#define SHARE_LATENCY     "granary_share_request_duration_seconds"
#define HOST_LATENCY      "granary_nfs_host_request_duration_seconds"
#define OPERATION_LATENCY "granary_nfs_operation_duration_seconds"

struct nfs_page {
	struct page *page;
	const char *name, *label;
	uint64_t (*value)(const struct nfs_tally *tally);
	unsigned printed;
};

/* Those of shares and directories are checked when they are made, an address is one: no quotes. */
static void print_tally(void *context, const char *name, const struct nfs_tally *tally)
{
	static const char *const classes[NFS_CLASSES] = {"read", "write", "commit", "other"};
	struct nfs_page *nfs = context;
	char labels[NFS_PATH_MAX + 32];
	bool idle = true;

	for (unsigned i = 0; i < NFS_CLASSES; i++)
		idle = idle && latency_total(&tally->latency[i]) == 0;
	if (idle)
		return;
	if (nfs->printed >= HISTOGRAMS_MAX || ftell(nfs->page->out) > (long)PAGE_MAX) {
		nfs->page->left_out++;
		return;
	}
	nfs->printed++;
	snprintf(labels, sizeof labels, "%s=\"%s\"", nfs->label, name);
	for (unsigned i = 0; i < NFS_CLASSES; i++)
		print_histogram(nfs->page->out, nfs->name, labels, classes[i], &tally->latency[i]);
}

static void print_bytes(void *context, const char *name, const struct nfs_tally *tally)
{
	struct nfs_page *nfs = context;
	char labels[NFS_PATH_MAX + 32];

	if (nfs->printed++ >= SERIES_MAX)
		return;
	snprintf(labels, sizeof labels, "{%s=\"%s\"}", nfs->label, name);
	sample(nfs->page, nfs->name, labels, nfs->value(tally));
}

static uint64_t tally_read(const struct nfs_tally *tally)
{
	return tally->read_bytes;
}
static uint64_t tally_write(const struct nfs_tally *tally)
{
	return tally->write_bytes;
}

static void print_operation(void *context, const struct nfs_operation_info *info)
{
	struct nfs_page *nfs = context;
	char labels[64];

	if (ftell(nfs->page->out) > (long)PAGE_MAX) {
		nfs->page->left_out++;
		return;
	}
	snprintf(labels, sizeof labels, "version=\"%s\"", info->version);
	print_histogram(nfs->page->out, OPERATION_LATENCY, labels, info->name, &info->latency);
}

static void print_errors(void *context, const struct nfs_operation_info *info)
{
	struct nfs_page *nfs = context;
	char labels[64];

	snprintf(labels, sizeof labels, "{version=\"%s\",operation=\"%s\"}", info->version,
		 info->name);
	sample(nfs->page, "granary_nfs_operation_errors_total", labels, info->errors);
}

static void print_nfs(struct page *page)
{
	static const struct {
		const char *name, *label, *type, *help;
		uint64_t (*value)(const struct nfs_tally *tally); /* NULL: a histogram */
	} rows[] = {
	    {SHARE_LATENCY, "share", "histogram",
	     "Requests about a share over NFS, from the request to its answer.", NULL},
	    {HOST_LATENCY, "host", "histogram", "Requests of a host over NFS, all shares together.",
	     NULL},
	    {"granary_share_read_bytes_total", "share", "counter",
	     "Bytes of a share that were read over NFS since it is exported.", tally_read},
	    {"granary_share_written_bytes_total", "share", "counter",
	     "Bytes of a share that were written over NFS since it is exported.", tally_write},
	    {"granary_nfs_host_read_bytes_total", "host", "counter",
	     "Bytes that a host has read over NFS.", tally_read},
	    {"granary_nfs_host_written_bytes_total", "host", "counter",
	     "Bytes that a host has written over NFS.", tally_write},
	};
	const struct nfs_server *server = page->request->admin->options.nfs;
	struct nfs_page nfs = {.page = page};

	if (!server)
		return;
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		nfs_tally_fn print = rows[i].value ? print_bytes : print_tally;

		nfs = (struct nfs_page){.page = page,
					.name = rows[i].name,
					.label = rows[i].label,
					.value = rows[i].value};
		head(page, rows[i].name, rows[i].type, rows[i].help);
		if (strcmp(rows[i].label, "share") == 0)
			nfs_share_tallies(server, print, &nfs);
		else
			nfs_client_tallies(server, NULL, print, &nfs);
	}
	head(page, OPERATION_LATENCY, "histogram",
	     "Operations of NFS, from the request or the operation before it to the result.");
	nfs_operation_tallies(server, print_operation, &nfs);
	head(page, "granary_nfs_operation_errors_total", "counter",
	     "Operations of NFS that were answered with an error, be it that a name is not there.");
	nfs_operation_tallies(server, print_errors, &nfs);
}

static void print_sessions(struct page *page, const struct iscsi_session_info *sessions,
			   unsigned count)
{
	unsigned targets = 0;

	head(page, "granary_iscsi_sessions", "gauge", "Sessions logged in to a target.");
	list_for_each (it, &page->request->model->targets) {
		const char *iqn = list_entry(it, struct model_target, link)->iqn;
		char labels[SCSI_NAME_MAX + 48];
		uint64_t here = 0;

		if (targets++ >= SERIES_MAX)
			continue;
		for (unsigned i = 0; i < count; i++)
			here += strcmp(sessions[i].target, iqn) == 0;
		snprintf(labels, sizeof labels, "{target=\"%s\"}", iqn);
		sample(page, "granary_iscsi_sessions", labels, here);
	}
	if (targets > SERIES_MAX)
		page->left_out += targets - SERIES_MAX;
}

static void print_daemon(struct page *page)
{
	const struct webadmin *admin = page->request->admin;
	char labels[128];

	head(page, "granary_build_info", "gauge", "Always 1; the labels tell what runs.");
	snprintf(labels, sizeof labels, "{version=\"%s\",io_engine=\"%s\"}", admin->options.version,
		 admin->options.world->name);
	sample(page, "granary_build_info", labels, 1);
	head(page, "granary_start_time_seconds", "gauge", "When the daemon started, since 1970.");
	sample(page, "granary_start_time_seconds", "", admin->started_wall_ns / 1000000000u);
}

static void print_alerts(struct page *page)
{
	static const char *const states[] = {"firing", "acknowledged", "silenced"};
	struct webadmin *admin = page->request->admin;
	const struct alerts *alerts = alert_watch_alerts(admin);
	int64_t wall = (int64_t)(loop_wall(admin->options.control) / 1000000000u);
	char labels[96];

	head(page, "granary_alerts", "gauge", "Alerts that have not cleared.");
	for (unsigned i = 0; i < ALERT_SEVERITIES * 3; i++) {
		enum alert_severity severity = i / 3;
		uint64_t count = 0;

		list_for_each (it, (struct list *)&alerts->active) {
			const struct alert *alert = list_entry(it, struct alert, link);

			count += alert->on && alert->severity == severity &&
				 strcmp(alert_state(alerts, alert, wall), states[i % 3]) == 0;
		}
		snprintf(labels, sizeof labels, "{severity=\"%s\",state=\"%s\"}",
			 alert_severity_name(severity), states[i % 3]);
		sample(page, "granary_alerts", labels, count);
	}
	head(page, "granary_alerts_left_out", "gauge", "Alerts that there was no room for.");
	sample(page, "granary_alerts_left_out", "", alerts->left_out);
}

static void print_channels(struct page *page)
{
	struct webadmin *admin = page->request->admin;
	struct alert_channel_info info;

	head(page, "granary_alert_deliveries_total", "counter",
	     "Messages of a channel, by what came of them, since the daemon started.");
	for (unsigned i = 0; alert_channel_info(admin, i, &info); i++) {
		const struct {
			const char *result;
			uint64_t count;
		} rows[] = {{"delivered", info.delivered},
			    {"given_up", info.given_up},
			    {"dropped", info.dropped}};
		char labels[CHANNEL_NAME_MAX + 48];

		for (unsigned j = 0; j < sizeof rows / sizeof *rows; j++) {
			snprintf(labels, sizeof labels, "{channel=\"%s\",result=\"%s\"}",
				 info.settings->name, rows[j].result);
			sample(page, "granary_alert_deliveries_total", labels, rows[j].count);
		}
	}
	head(page, "granary_alert_queue_messages", "gauge", "Messages that wait to be delivered.");
	for (unsigned i = 0; alert_channel_info(admin, i, &info); i++) {
		char labels[CHANNEL_NAME_MAX + 16];

		snprintf(labels, sizeof labels, "{channel=\"%s\"}", info.settings->name);
		sample(page, "granary_alert_queue_messages", labels, info.queued);
	}
}

/* What a group does not know is left out: a standby that has not heard how far it is behind. */
static void print_groups(struct page *page)
{
	static const struct {
		const char *name, *key, *help;
	} rows[] = {
	    {"granary_replica_lag_seconds", "lag_seconds",
	     "How much older the standby's image is."},
	    {"granary_replica_lag_bytes", "lag_bytes",
	     "What the standby's image lacks, at most; on a standby as its primary said last."},
	    {"granary_replica_sealed_epoch", "sealed_epoch",
	     "Newest epoch of the standby's image."},
	    {"granary_replica_link_bytes_per_second", "bytes_per_second", "Sent, of late."},
	};
	json_t *groups = replication_group_list(page->request->admin->replication), *group;
	char labels[256];
	size_t at;

	head(page, "granary_replica_role", "gauge", "1 for the role that the group has here.");
	json_array_foreach(groups, at, group)
	{
		snprintf(labels, sizeof labels, "{group=\"%s\",role=\"%s\"}",
			 json_string_value(json_object_get(group, "name")),
			 json_string_value(json_object_get(group, "role")));
		sample(page, "granary_replica_role", labels, 1);
	}
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		head(page, rows[i].name, "gauge", rows[i].help);
		json_array_foreach(groups, at, group)
		{
			const json_t *value = json_object_get(group, rows[i].key);

			if (json_is_number(value))
				fprintf(page->out, "%s{group=\"%s\"} %.15g\n", rows[i].name,
					json_string_value(json_object_get(group, "name")),
					json_number_value(value));
		}
	}
	head(page, "granary_replica_alarms", "gauge", "Alarms of the group that stand now.");
	json_array_foreach(groups, at, group)
	{
		snprintf(labels, sizeof labels, "{group=\"%s\"}",
			 json_string_value(json_object_get(group, "name")));
		sample(page, "granary_replica_alarms", labels,
		       json_array_size(json_object_get(group, "alarms")));
	}
	json_decref(groups);
}

static void sessions_listed(void *context, const struct iscsi_session_info *sessions,
			    unsigned count)
{
	struct page page = {.request = context};
	char *text = NULL;
	size_t length;
	json_t *body;

	page.out = open_memstream(&text, &length);
	if (!page.out) {
		api_reply_error(context, 503, "no_memory", "out of memory");
		return;
	}
	print_daemon(&page);
	print_pools(&page);
	print_volumes(&page, "granary_volume_size_bytes", "Size that initiators see.", false);
	print_volumes(&page, "granary_volume_used_bytes", "Space allocated to it.", true);
	print_luns(&page);
	print_lun_latencies(&page);
	print_client_latencies(&page);
	print_nfs(&page);
	print_sessions(&page, sessions, count);
	print_groups(&page);
	print_alerts(&page);
	print_channels(&page);
	head(&page, "granary_metrics_left_out", "gauge",
	     "Objects without a line because there are too many.");
	sample(&page, "granary_metrics_left_out", "", page.left_out);
	body = fclose(page.out) == 0 ? json_string(text) : NULL;
	free(text);
	api_extra(context, "type", json_string("text/plain; version=0.0.4; charset=utf-8"));
	api_reply(context, 200, body);
}

void api_metrics_show(struct api_request *request)
{
	iscsi_session_list(request->admin->options.iscsi, sessions_listed, request);
}
