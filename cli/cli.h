/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The granary command: a client of the API's routes over the control socket. One table of verbs
 * (verbs.c) drives parsing, help and completion. */

enum { EXIT_GOOD = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

#define OPTIONS_MAX  17
#define POSITION_MAX 66

struct option_spec {
	const char *name;     /* without "--" */
	const char *argument; /* NULL: a switch */
	const char *help;
};

struct command;

struct verb {
	const char *noun, *verb; /* verb "": the noun alone */
	const char *arguments;   /* as the help shows them */
	unsigned least, most;    /* how many */
	struct option_spec options[OPTIONS_MAX];
	const char *summary;
	const char *example;
	const char *route; /* the API route it is a client of: "POST /api/v1/pools" */
	int (*run)(struct command *command);
};

struct command {
	const struct verb *verb;
	const char *position[POSITION_MAX];
	unsigned count;
	const char *value[OPTIONS_MAX]; /* NULL: not given; "" for a switch that was */
	const char *state;
	bool json, yaml, yes, help; /* yaml: for verbs that say so (export) */
	/* A document that is sent: errors that begin with the path of something in it are told with
	 * its file and line. */
	const char *document;
	json_t *lines; /* path: line; NULL: not known */
};

const struct verb *verb_table(unsigned *ret_count);
/* NULL: there is none. verb_noun_known: some verb has this noun. */
const struct verb *verb_find(const char *noun, const char *verb);
bool verb_noun_known(const char *noun);
/* The value of a command's option, NULL when it was not given. */
const char *command_option(const struct command *command, const char *name);

/* parse.c: argv to a command. Returns -1 to go on, else the exit status, with the sentence (or
 * the help that was asked for) printed. */
int command_parse(int argc, char **argv, struct command *ret_command);

/* help.c */
void help_all(void);
void help_noun(const char *noun);
void help_verb(const struct verb *verb);
void completion_print(void);

/* call.c: one request; 0 with *ret_body (the caller's), or the exit status, told on stderr.
 * @path is a pattern: each %s is replaced by the next text, percent-encoded. @body is stolen. */
int command_call(struct command *command, const char *method, json_t *body, json_t **ret_body,
		 const char *path, ...) __attribute__((format(printf, 5, 6)));
/* command_list: the whole of a list, which comes page by page; @query ("name=value&", or "") goes
 * with the first one alone. */
int command_list(struct command *command, const char *query, json_t **ret_list, const char *path,
		 ...) __attribute__((format(printf, 4, 5)));
/* A GET of a path as it is. */
int command_get(struct command *command, const char *path, json_t **ret_body);
/* One line on stderr; returns EXIT_FAILED. */
int command_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Asks before something is destroyed, unless --yes; -1 to go on. */
int command_confirm(struct command *command, const char *question);
/* The same for what scripts do, too, without anybody who could be asked: they are not. */
int command_ask(struct command *command, const char *question);

/* argument.c. command_lun: what is given as IQN and number, or as IQN/NUMBER.
 * command_split: POOL/NAME of a @what ("volume"); @ret_name points into @text.
 * command_secret: the text of a file without its line end, @least to @most bytes, the latter
 * COMMAND_SECRET_MAX or less; the caller wipes it. 0, or the exit status with the sentence
 * printed. */
struct object_name {
	char pool[128];
	const char *name;
};
#define COMMAND_SECRET_MAX 256
struct lun_name {
	char iqn[224];
	const char *lun;
};
int command_lun(const struct command *command, struct lun_name *ret_name);
int command_split(const char *text, const char *what, struct object_name *ret_name);
int command_secret(const char *path, const char *what, size_t least, size_t most,
		   char text[COMMAND_SECRET_MAX + 1]);
/* command_read_text: the @most bytes (whole MiB) at most of a file, or of standard input for "-",
 * with a NUL behind them; heap, the caller's. NULL: the reason has been told. */
char *command_read_text(const char *path, size_t most, size_t *ret_length);

/* run_share.c: "3,4.1" as a list; NULL for NULL. What is in it is for the daemon to judge. */
json_t *command_versions(const char *text);

/* run_target.c: --WHAT-user and --WHAT-secret-file into @body; both or none. 0 or the exit status.
 */
int command_add_chap(struct command *command, json_t *body, const char *what);

/* table.c: what comes back, for people or (-o json) for programs. */
enum column_kind { TEXT, NUMBER, SIZE, RATIO, YES_NO, COUNT, JOINED, DURATION, TIME, TIME_MS };
struct column {
	const char *title, *key;
	enum column_kind kind;
};
/* Prints @body: an array as rows, an object as one row; or its JSON. Steals @body. */
int table_print(struct command *command, json_t *body, const struct column *columns,
		unsigned count);
void table_rows(const json_t *array, const struct column *columns, unsigned count);
/* JSON when asked for, else the sentence. Steals @body. */
int say(struct command *command, json_t *body, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* run_configuration.c: what PUT /configuration says it has done or would do. Steals @reply. */
int print_steps(struct command *command, json_t *reply);

/* run_bin.c: delete POOL/NAME, of "volumes" or "shares"; says where it has gone. */
int command_delete(struct command *command, const char *what, const char *many);

/* run_*.c */
/* command_password: the option "password-file"'s contents into @body; 0, or the exit status. */
int command_password(struct command *command, json_t *body, bool required);

int run_appliance_show(struct command *command);
int run_appliance_network(struct command *command);
int run_appliance_confirm(struct command *command);
int run_appliance_revert(struct command *command);
int run_appliance_time(struct command *command);
int run_appliance_name(struct command *command);
int run_appliance_restart(struct command *command);
int run_appliance_poweroff(struct command *command);
int run_appliance_release(struct command *command);
int run_appliance_upload(struct command *command);
int run_appliance_update(struct command *command);
int run_appliance_cancel(struct command *command);
int run_appliance_rollback(struct command *command);
int run_config_backup(struct command *command);
int run_config_restore(struct command *command);
int run_config_reset(struct command *command);
int run_disk_list(struct command *command);
int run_disk_health(struct command *command);
int run_pool_create(struct command *command);
int run_pool_import(struct command *command);
int run_pool_rename(struct command *command);
int run_pool_list(struct command *command);
int run_pool_show(struct command *command);
int run_pool_prove(struct command *command);
int run_pool_check(struct command *command);
int run_pool_scrub(struct command *command);
int run_pool_add(struct command *command);
int run_pool_grow(struct command *command);
int run_pool_evacuate(struct command *command);
int run_pool_remove(struct command *command);
int run_pool_online(struct command *command);
int run_pool_offline(struct command *command);
int run_pool_replace(struct command *command);
int run_pool_findings(struct command *command);
int run_pool_set(struct command *command);
int run_pool_export(struct command *command);
int run_pool_delete(struct command *command);
int run_volume_create(struct command *command);
int run_volume_list(struct command *command);
int run_volume_show(struct command *command);
int run_volume_resize(struct command *command);
int run_volume_set(struct command *command);
int run_volume_rescan(struct command *command);
int run_volume_rename(struct command *command);
int run_volume_take(struct command *command);
int run_volume_move(struct command *command);
int run_bin_list(struct command *command);
int run_bin_restore(struct command *command);
int run_bin_delete(struct command *command);
int run_bin_empty(struct command *command);
int run_volume_delete(struct command *command);
int run_volume_clone(struct command *command);
int run_volume_promote(struct command *command);
int run_volume_rollback(struct command *command);
int run_schedule_create(struct command *command);
int run_schedule_set(struct command *command);
int run_schedule_list(struct command *command);
int run_schedule_show(struct command *command);
int run_schedule_run(struct command *command);
int run_schedule_delete(struct command *command);
int run_alert_list(struct command *command);
int run_alert_ack(struct command *command);
int run_alert_silence(struct command *command);
int run_alert_rule_list(struct command *command);
int run_alert_rule_set(struct command *command);
int run_alert_channel_create(struct command *command);
int run_alert_channel_set(struct command *command);
int run_alert_channel_list(struct command *command);
int run_alert_channel_delete(struct command *command);
int run_alert_channel_test(struct command *command);
int run_snapshot_create(struct command *command);
int run_snapshot_list(struct command *command);
int run_snapshot_show(struct command *command);
int run_snapshot_rename(struct command *command);
int run_snapshot_set(struct command *command);
int run_snapshot_hold(struct command *command);
int run_snapshot_release(struct command *command);
int run_snapshot_diff(struct command *command);
int run_snapshot_delete(struct command *command);
int run_provision(struct command *command);
int run_share_create(struct command *command);
int run_share_import(struct command *command);
int run_share_list(struct command *command);
int run_share_show(struct command *command);
int run_share_quota(struct command *command);
int run_share_limit(struct command *command);
int run_share_users(struct command *command);
int run_share_set(struct command *command);
int run_share_check(struct command *command);
int run_share_restore(struct command *command);
int run_smb_enable(struct command *command);
int run_smb_disable(struct command *command);
int run_smb_list(struct command *command);
int run_smb_user(struct command *command);
int run_smb_forget(struct command *command);
int run_share_iso(struct command *command);
int run_share_mount(struct command *command);
int run_share_unmount(struct command *command);
int run_share_delete(struct command *command);
int run_share_allow(struct command *command);
int run_share_deny(struct command *command);
int run_share_rules(struct command *command);
int run_share_explain(struct command *command);
int run_share_tls_show(struct command *command);
int run_share_tls_set(struct command *command);
int run_share_clients(struct command *command);
int run_share_hosts(struct command *command);
int run_share_operations(struct command *command);
int run_directory_add(struct command *command);
int run_directory_list(struct command *command);
int run_directory_show(struct command *command);
int run_directory_set(struct command *command);
int run_directory_remove(struct command *command);
int run_directory_allow(struct command *command);
int run_directory_deny(struct command *command);
int run_directory_rules(struct command *command);
int run_directory_explain(struct command *command);
int run_share_release(struct command *command);
int run_target_create(struct command *command);
int run_target_list(struct command *command);
int run_target_show(struct command *command);
int run_target_delete(struct command *command);
int run_target_redirect(struct command *command);
int run_target_set(struct command *command);
int run_target_allow(struct command *command);
int run_target_deny(struct command *command);
int run_target_rules(struct command *command);
int run_lun_map(struct command *command);
int run_lun_set(struct command *command);
int run_lun_unmap(struct command *command);
int run_lun_list(struct command *command);
int run_discovery_show(struct command *command);
int run_discovery_require(struct command *command);
int run_discovery_open(struct command *command);
int run_isns_show(struct command *command);
int run_isns_set(struct command *command);
int run_isns_remove(struct command *command);
int run_metadata_show(struct command *command);
int run_metadata_set(struct command *command);
int run_host_create(struct command *command);
int run_log_list(struct command *command);
int run_host_list(struct command *command);
int run_host_show(struct command *command);
int run_host_add(struct command *command);
int run_host_remove(struct command *command);
int run_host_delete(struct command *command);
int run_lun_mask(struct command *command);
int run_target_groups(struct command *command);
int run_target_group(struct command *command);
int run_lun_reservations(struct command *command);
int run_lun_release(struct command *command);
int run_lun_check(struct command *command);
int run_initiator_list(struct command *command);
int run_slow_list(struct command *command);
int run_slow_set(struct command *command);
int run_session_list(struct command *command);
int run_session_drop(struct command *command);
int run_setup_code(struct command *command);
int run_account_list(struct command *command);
int run_account_create(struct command *command);
int run_account_change(struct command *command);
int run_account_delete(struct command *command);
int run_token_list(struct command *command);
int run_token_create(struct command *command);
int run_token_delete(struct command *command);
int run_audit_list(struct command *command);
int run_audit_export(struct command *command);
int run_audit_check(struct command *command);
int run_network_check(struct command *command);
int run_replica_code(struct command *command);
int run_replica_pair(struct command *command);
int run_replica_peers(struct command *command);
int run_replica_key(struct command *command);
int run_replica_peer(struct command *command);
int run_replica_unpair(struct command *command);
int run_replica_group(struct command *command);
int run_replica_leases(struct command *command);
int run_replica_point(struct command *command);
int run_replica_seed(struct command *command);
int run_replica_promote(struct command *command);
int run_replica_demote(struct command *command);
int run_replica_switchover(struct command *command);
int run_replica_failback(struct command *command);
int run_replica_verify(struct command *command);
int run_replica_pause(struct command *command);
int run_replica_resume(struct command *command);
int run_export(struct command *command);
int run_diff(struct command *command);
int run_apply(struct command *command);
int run_ups_show(struct command *command);
int run_ups_set(struct command *command);
int run_ups_clear(struct command *command);
int run_support_bundle(struct command *command);
int run_status(struct command *command);
int run_completion(struct command *command);

#endif
