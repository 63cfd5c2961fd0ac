/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEBADMIN_API_H
#define WEBADMIN_API_H

#include <jansson.h>

#include "core/err.h"
#include "core/list.h"
#include "iscsi/iscsi.h"
#include "volumes/devices.h"
#include "volumes/pool.h"
#include "webadmin/route.h"

/* Inside webadmin/: what a route's handler sees. A handler answers exactly once, now or later,
 * with one of the api_reply_*() calls; the request is gone after that: not even a field of it may
 * be looked at. */

struct webadmin;
struct model;

#define API_QUERY_MAX 1024 /* bytes behind the "?" */

/* Who asks. */
struct identity {
	enum role role;
	char name[80];    /* the account's, "token:NAME", "local:UID"; "" = nobody yet */
	char address[64]; /* where from, "" = this machine */
	uint64_t session; /* access.c's, 0 = none */
};

struct api_request {
	struct webadmin *admin;
	struct model *model;
	struct route_match match;
	struct identity who;
	char path[ROUTE_PATH_MAX + 1];     /* without the query */
	json_t *body;                      /* an object, empty when none came; the request's */
	bool local;                        /* by the control socket or inside the process */
	const char *query;                 /* what stands behind "?", "" = nothing */
	const char *if_match, *replay_key; /* of the headers; NULL: not given */
	json_t *extra;                     /* more members of the reply; usually NULL */
	const char *front_certificate; /* fingerprint of the one the web front has; NULL: none */
	bool paged;                    /* the body is the page that was asked for (api_page_more) */

	/* For the handler's asynchronous steps. */
	struct pool_call call;
	struct device_call devices;
	void (*devices_checked)(struct api_request *request);
	bool force;
	struct volume *volume; /* unreferenced at the end */
	void *state;           /* heap_free()d at the end */
	struct err err;
	const char *about; /* the member of the body that a refusal is about; NULL: not one */

	/* private to webadmin.c */
	struct list link;
	bool changing;
	void (*replied)(struct api_request *request, json_t *reply);
	void *context;
};

static inline struct api_request *api_request_of(struct pool_call *call)
{
	return container_of(call, struct api_request, call);
}

/* @body is stolen; NULL (no memory) becomes a 500. */
void api_reply(struct api_request *request, int status, json_t *body);
/* An RFC 9457 body: status, a stable @code for programs, a sentence for people. */
void api_reply_error(struct api_request *request, int status, const char *code, const char *format,
		     ...) __attribute__((format(printf, 4, 5)));
/* The same from request->err; status and default code follow from its errno; @code NULL = that. */
void api_reply_failure(struct api_request *request, const char *code);
/* The end of a step with request->call: true when @result is 0; else an error has been sent, of
 * @exists_code when the name was taken (NULL: the default code). */
bool api_step_good(struct api_request *request, int result, const char *exists_code);

/* api_extra: a member of the reply beside its body: "etag", "next", "type", "session". Steals
 * @value. Before api_reply(). */
void api_extra(struct api_request *request, const char *name, json_t *value);
/* api_query: the value of a parameter of the query, percent-decoded into @value; false when it is
 * not there, too long or malformed. */
bool api_query(const struct api_request *request, const char *name, char *value, size_t size);

/* api_is_dry: with ?dry_run=1 nothing is changed, only shown what would be (ROUTE_DRY). Whatever
 * stands behind it, "=0" alone is not one. */
bool api_is_dry(const struct api_request *request);
/* The answer of a dry run: what would be different of @what, "volume tank/db". @before and @after
 * are stolen: the object as it is, empty when there is none, and as it would be; what is the
 * same in both is left out. */
void api_reply_dry(struct api_request *request, json_t *what, json_t *before, json_t *after);
/* What the store was told in a transaction of the request's stays: config_commit(). In a dry run it
 * is left open, for the end of the request to abort. */
int api_commit(struct api_request *request);
/* A step of the pool's for a handler: request->call, dry when the request is. */
struct pool_call *api_pool_call(struct api_request *request,
				void (*done)(struct pool_call *call, int result));

/* schema.c: the body against its route's row; false = a 400 has been sent. */
bool api_body_check(struct api_request *request);

/* tag.c. api_tag: the entity tag of a body: 16 hex digits over everything in it but gauges and
 * counters that move by themselves. api_page: cuts the list @body down to the page that the query
 * asks for (api_extra "next"); false = an error has been sent. */
bool api_tag(const json_t *body, char tag[17]);
bool api_page(struct api_request *request, json_t *body);

/* For a list that may be long, and is made page by page. api_page_asked: what the query asks for;
 * false = a 400 has been sent. api_page_more: the body is that page already; behind it comes what
 * @cursor leads to (NULL: nothing). Before api_reply(). */
#define API_CURSOR_MAX 512
#define API_PAGE_MAX   1000
struct api_page {
	bool asked; /* else all of it is wanted */
	size_t limit;
	char after[API_CURSOR_MAX]; /* the cursor, "" = from the beginning */
};
bool api_page_asked(struct api_request *request, struct api_page *ret_page);
void api_page_more(struct api_request *request, const char *cursor);

/* api_unpack: json_unpack() with the body, strictly; false = a 400 has been sent. */
bool api_unpack(struct api_request *request, const char *format, ...);
/* api_size: bytes from a JSON integer or a text such as "20G"; false = a 400 has been sent. */
bool api_size(struct api_request *request, const json_t *value, uint64_t *ret_bytes);
/* api_is_none: does a limit or a quota say that there is to be none? */
bool api_is_none(const json_t *value);
/* api_volume_size_good: may a volume have this size? false = a 400 has been sent. */
bool api_volume_size_good(struct api_request *request, uint64_t bytes);

/* api_disk.c: look at the devices @paths before they are taken. checked() runs later when all of
 * them may be taken (@force: in spite of what is on them); else an error has been sent. */
void api_devices_check(struct api_request *request, const char *const *paths, unsigned count,
		       bool force, void (*checked)(struct api_request *request));

void api_status_show(struct api_request *request);
void api_support_bundle(struct api_request *request);
void api_appliance(struct api_request *request);
void api_update(struct api_request *request);
void api_update_cancel(struct api_request *request);
void api_update_piece(struct api_request *request);
void api_routes_list(struct api_request *request);
void api_event_list(struct api_request *request);
void api_history_show(struct api_request *request);
void api_performance_show(struct api_request *request);
void api_job_list(struct api_request *request);
void api_openapi_show(struct api_request *request);
void api_login(struct api_request *request);
void api_logout(struct api_request *request);
void api_me_show(struct api_request *request);
void api_me_password(struct api_request *request);
void api_me_confirm(struct api_request *request);
void api_totp_offer(struct api_request *request);
void api_totp_confirm(struct api_request *request);
void api_configuration_show(struct api_request *request);
void api_configuration_apply(struct api_request *request);
void api_certificate_show(struct api_request *request);
void api_certificate_set(struct api_request *request);
void api_totp_delete(struct api_request *request);
void api_setup_show(struct api_request *request);
void api_set_up(struct api_request *request);
void api_account_list(struct api_request *request);
void api_account_create(struct api_request *request);
void api_account_change(struct api_request *request);
void api_account_delete(struct api_request *request);
void api_token_list(struct api_request *request);
void api_token_create(struct api_request *request);
void api_token_delete(struct api_request *request);
void api_audit_list(struct api_request *request);
void api_audit_check(struct api_request *request);
void api_metrics_show(struct api_request *request);
void api_provision(struct api_request *request);
void api_disk_list(struct api_request *request);
void api_ups_show(struct api_request *request);
void api_ups_set(struct api_request *request);
void api_ups_clear(struct api_request *request);
void api_health_show(struct api_request *request);
void api_health_report(struct api_request *request);
void api_pool_list(struct api_request *request);
void api_pool_create(struct api_request *request);
void api_pool_import(struct api_request *request);
void api_pool_show(struct api_request *request);
void api_pool_change(struct api_request *request);
void api_pool_export(struct api_request *request);
void api_pool_usage(struct api_request *request);
void api_pool_check_devices(struct api_request *request);
/* A device of a body: a path or {"path", "size"}; *ret_absent: there is no such file yet. False: it
 * was answered. */
bool api_read_device(struct api_request *request, const json_t *item, struct pool_device *device,
		     bool *ret_absent);
void api_pool_add(struct api_request *request);
void api_pool_grow(struct api_request *request);
void api_pool_evacuate(struct api_request *request);
void api_pool_remove(struct api_request *request);
void api_pool_online(struct api_request *request);
void api_pool_offline(struct api_request *request);
void api_pool_replace(struct api_request *request);
void api_pool_delete(struct api_request *request);
void api_pool_prove(struct api_request *request);
void api_disk_prove(struct api_request *request);
void api_pool_check(struct api_request *request);
void api_volume_latency(struct api_request *request);
void api_initiator_latency(struct api_request *request);
void api_share_latency(struct api_request *request);
void api_directory_latency(struct api_request *request);
void api_nfs_host_list(struct api_request *request);
void api_nfs_host_latency(struct api_request *request);
void api_nfs_operation_list(struct api_request *request);
void api_slow_show(struct api_request *request);
void api_slow_change(struct api_request *request);
void slow_load(struct webadmin *admin); /* the limit that was set last */
void api_scrub_show(struct api_request *request);
void api_scrub_change(struct api_request *request);
void api_finding_list(struct api_request *request);
void api_finding_clear(struct api_request *request);
void api_volume_list(struct api_request *request);
void api_volume_create(struct api_request *request);
void api_volume_show(struct api_request *request);
void api_volume_promote(struct api_request *request);
void api_volume_rollback(struct api_request *request);
void api_snapshot_list(struct api_request *request);
void api_snapshot_create(struct api_request *request);
void api_snapshot_show(struct api_request *request);
void api_snapshot_change(struct api_request *request);
void api_snapshot_delete(struct api_request *request);
void api_snapshot_give_up(struct api_request *request);
void api_snapshot_clone(struct api_request *request);
void api_snapshot_diff(struct api_request *request);
void api_alert_list(struct api_request *request);
void api_alert_show(struct api_request *request);
void api_alert_ack(struct api_request *request);
void api_alert_rule_list(struct api_request *request);
void api_alert_rule_change(struct api_request *request);
void api_silence_list(struct api_request *request);
void api_silence_create(struct api_request *request);
void api_silence_delete(struct api_request *request);
void api_channel_list(struct api_request *request);
void api_channel_show(struct api_request *request);
void api_channel_create(struct api_request *request);
void api_channel_change(struct api_request *request);
void api_channel_delete(struct api_request *request);
void api_channel_test(struct api_request *request);
void api_schedule_list(struct api_request *request);
void api_schedule_create(struct api_request *request);
void api_schedule_show(struct api_request *request);
void api_schedule_change(struct api_request *request);
void api_schedule_delete(struct api_request *request);
void api_schedule_run(struct api_request *request);
void api_backup_show(struct api_request *request);
void api_backup_make(struct api_request *request);
void api_backup_piece(struct api_request *request);
void api_backup_upload(struct api_request *request);
void api_backup_restore(struct api_request *request);
void api_backup_cancel(struct api_request *request);
void api_bin_list(struct api_request *request);
void api_bin_restore(struct api_request *request);
void api_bin_delete(struct api_request *request);
void api_bin_empty(struct api_request *request);
void api_bin_give_up(struct api_request *request);
void api_volume_change(struct api_request *request);
void api_volume_take(struct api_request *request);
void api_volume_move(struct api_request *request);
void api_move_list(struct api_request *request);
void api_volume_rescan(struct api_request *request);
void api_volume_delete(struct api_request *request);
void api_share_list(struct api_request *request);
void api_share_create(struct api_request *request);
void api_share_import(struct api_request *request);
void api_share_show(struct api_request *request);
void api_share_change(struct api_request *request);
void api_share_delete(struct api_request *request);
void api_share_check(struct api_request *request);
void api_share_restore(struct api_request *request);
void api_share_users(struct api_request *request);
void api_share_user_limit(struct api_request *request);
void api_share_rules(struct api_request *request);
void api_share_allow(struct api_request *request);
void api_share_deny(struct api_request *request);
void api_share_explain(struct api_request *request);
void api_directory_list(struct api_request *request);
void api_directory_create(struct api_request *request);
void api_directory_show(struct api_request *request);
void api_directory_change(struct api_request *request);
void api_directory_delete(struct api_request *request);
void api_directory_rules(struct api_request *request);
void api_directory_allow(struct api_request *request);
void api_directory_deny(struct api_request *request);
void api_directory_explain(struct api_request *request);
void api_image_list(struct api_request *request);
void api_image_begin(struct api_request *request);
void api_image_put(struct api_request *request);
void api_image_end(struct api_request *request);
void api_image_delete(struct api_request *request);
void api_network_check(struct api_request *request);
void api_nfs_client_list(struct api_request *request);
void api_nfs_tls_show(struct api_request *request);
void api_nfs_tls_set(struct api_request *request);
void api_nfs_client_release(struct api_request *request);
void api_share_smb_set(struct api_request *request);
void api_share_smb_clear(struct api_request *request);
void api_smb_show(struct api_request *request);
void api_smb_serve(struct api_request *request);
void api_smb_user_set(struct api_request *request);
void api_smb_user_delete(struct api_request *request);
void api_target_list(struct api_request *request);
void api_target_create(struct api_request *request);
void api_target_show(struct api_request *request);
void api_target_delete(struct api_request *request);
void api_target_change(struct api_request *request);
void api_rule_list(struct api_request *request);
void api_rule_add(struct api_request *request);
void api_rule_remove(struct api_request *request);
void api_lun_list(struct api_request *request);
void api_lun_map(struct api_request *request);
void api_lun_set(struct api_request *request);
void api_lun_unmap(struct api_request *request);
/* api_read_rule: an access rule from the body; false = a 400 has been sent. */
bool api_read_rule(struct api_request *request, struct iscsi_rule *rule);
void api_discovery_show(struct api_request *request);
void api_discovery_set(struct api_request *request);
void api_discovery_clear(struct api_request *request);
void api_isns_show(struct api_request *request);
void api_isns_set(struct api_request *request);
void api_isns_remove(struct api_request *request);
void api_log_list(struct api_request *request);
void api_host_list(struct api_request *request);
void api_host_show(struct api_request *request);
void api_host_create(struct api_request *request);
void api_host_change(struct api_request *request);
void api_host_delete(struct api_request *request);
void api_lun_mask(struct api_request *request);
void api_group_list(struct api_request *request);
void api_group_set(struct api_request *request);
void api_reservation_show(struct api_request *request);
void api_reservation_clear(struct api_request *request);
void api_lun_check(struct api_request *request);
void api_replica_code(struct api_request *request);
void api_replica_pair(struct api_request *request);
void api_replica_peers(struct api_request *request);
void api_replica_key(struct api_request *request);
void api_replica_rekey(struct api_request *request);
void api_replica_rekey_cancel(struct api_request *request);
void api_replica_peer_set(struct api_request *request);
void api_replica_unpair(struct api_request *request);
void api_replica_list(struct api_request *request);
void api_replica_show(struct api_request *request);
void api_replica_create(struct api_request *request);
void api_replica_change(struct api_request *request);
void api_replica_points(struct api_request *request);
void api_replica_clone(struct api_request *request);
void api_replica_seed_export(struct api_request *request);
void api_replica_seed_cancel(struct api_request *request);
void api_replica_seed_import(struct api_request *request);
void api_replica_act(struct api_request *request);
void api_replica_witness(struct api_request *request);
void api_replica_leases(struct api_request *request);
void api_initiator_list(struct api_request *request);
void api_session_list(struct api_request *request);
void api_session_drop(struct api_request *request);

#endif
