/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/log.h"
#include "webadmin/bin.h"
#include "webadmin/export.h"
#include "webadmin/move.h"
#include "webadmin/secret.h"
#include "webadmin/share.h"

static const struct config_migration migrations[] = {
    /* no program that asks for what is beyond it knows less: NULL up to the first release */
    {"the first schema",
     "create table setting(name text primary key, value text not null) without rowid;"
     "create table pool(name text primary key, uuid blob not null unique check(length(uuid) = 16),"
     "  backend text not null default 'native') without rowid;"
     "create table pool_device(pool text not null references pool(name) on delete cascade,"
     "  position integer not null, path text not null unique,"
     "  primary key(pool, position)) without rowid;"
     "create table target(iqn text primary key, alias text not null default '') without rowid;"
     "create table lun(target text not null references target(iqn) on delete cascade,"
     "  lun integer not null check(lun between 0 and 16383),"
     "  pool text not null references pool(name),"
     "  volume blob not null check(length(volume) = 16), volume_name text not null,"
     "  primary key(target, lun)) without rowid;"
     "create index lun_volume on lun(volume);"
     /* autoincrement: the id of a rule that is gone never names another one */
     "create table rule(id integer primary key autoincrement,"
     "  target text not null references target(iqn) on delete cascade,"
     "  position integer not null, initiator text not null default '',"
     "  network text not null default '', chap_user text not null default '',"
     "  chap_secret blob not null default x'', mutual_user text not null default '',"
     "  mutual_secret blob not null default x'', unique(target, position));",
     NULL},
    {"access states of portal groups",
     "create table portal_group(target text not null references target(iqn) on delete cascade,"
     "  tag integer not null, access integer not null, preferred integer not null,"
     "  primary key(target, tag)) without rowid;",
     NULL},
    {"shares",
     "create table share(volume blob primary key check(length(volume) = 16),"
     "  pool text not null references pool(name), name text not null) without rowid;",
     NULL},
    {"secrets are sealed", "alter table rule add column sealed integer not null default 0;", NULL},
    {"host groups and masks",
     "create table host(name text primary key) without rowid;"
     "create table host_initiator(initiator text primary key,"
     "  host text not null references host(name) on delete cascade) without rowid;"
     "create table lun_host(target text not null, lun integer not null,"
     "  host text not null references host(name), primary key(target, lun, host),"
     "  foreign key(target, lun) references lun(target, lun) on delete cascade) without rowid;",
     NULL},
    {"share rules",
     "create table share_rule("
     "  volume blob not null references share(volume) on delete cascade,"
     "  position integer not null, client text not null,"
     "  read_only integer not null, insecure integer not null,"
     "  squash integer not null, anon_uid integer not null,"
     "  anon_gid integer not null, primary key(volume, position),"
     "  unique(volume, client)) without rowid;",
     NULL},
    {"CHAP of discovery",
     "create table discovery(id integer primary key check(id = 1), chap_user text not null,"
     "  chap_secret blob not null, mutual_user text not null, mutual_secret blob not null);",
     NULL},
    {"devices as volumes",
     "create table passthrough(volume blob primary key check(length(volume) = 16),"
     "  name text not null unique, path text not null unique, size integer not null,"
     "  read_only integer not null, naa blob not null check(length(naa) = 16),"
     "  serial text not null, vendor text not null, product text not null,"
     "  t10 text not null) without rowid;",
     NULL},
    {"limits of volumes",
     "create table volume_limit(volume blob primary key check(length(volume) = 16),"
     "  iops integer not null, bandwidth integer not null, burst_ms integer not null)"
     " without rowid;",
     NULL},
    {"NFS versions of shares", "alter table share add column versions integer not null default 15;",
     NULL},
    {"read-only LUNs and CD-ROMs",
     "alter table lun add column read_only integer not null default 0;"
     "alter table lun add column cdrom integer not null default 0;",
     NULL},
    {"login redirection", "alter table target add column redirect text not null default '';", NULL},
    {"schedules of snapshots",
     "create table snapshot_schedule(name text primary key, pool text not null,"
     "  prefix text not null, every text not null, keep text not null,"
     "  settled integer not null, ran integer not null default 0,"
     "  runs integer not null default 0, missed integer not null default 0,"
     "  skipped integer not null default 0, result text not null default '') without rowid;"
     "create table snapshot_schedule_volume(schedule text not null"
     "  references snapshot_schedule(name) on delete cascade, position integer not null,"
     "  volume blob not null check(length(volume) = 16), name text not null,"
     "  primary key(schedule, position)) without rowid;",
     NULL},
    {"snapshots in shares", "alter table share add column snapshots integer not null default 0;",
     NULL},
    {"alerts",
     "create table alert(id integer primary key, rule text not null, object text not null,"
     "  detail text not null, value integer not null, severity text not null,"
     "  fired integer not null, cleared integer not null, acked integer not null,"
     "  acked_by text not null, told integer not null);"
     "create table alert_rule(rule text primary key, enabled integer not null,"
     "  severity text not null, after integer not null, clear integer not null,"
     "  level integer not null) without rowid;"
     "create table alert_silence(id integer primary key autoincrement, rule text not null,"
     "  object text not null, until integer not null, maker text not null,"
     "  reason text not null);"
     "create table alert_channel(name text primary key, kind text not null,"
     "  preset text not null, url blob not null, sender text not null,"
     "  recipients text not null, user text not null, secret blob not null, ca text not null,"
     "  plain integer not null, language integer not null, severity text not null,"
     "  enabled integer not null) without rowid;",
     NULL},
    {"how full pools have been",
     "create table pool_usage(pool blob not null, hour integer not null, used integer not null,"
     "  size integer not null, primary key(pool, hour)) without rowid;",
     NULL},
    {"shares over SMB",
     "create table smb_user(name text primary key, uid integer not null, gid integer not null,"
     "  hash blob not null) without rowid;"
     "create table smb_share(volume blob primary key references share(volume) on delete cascade,"
     "  guest integer not null, read_only integer not null) without rowid;"
     "create table smb_share_user("
     "  volume blob not null references smb_share(volume) on delete cascade,"
     "  name text not null references smb_user(name) on delete cascade,"
     "  primary key(volume, name)) without rowid;",
     NULL},
    {"volumes on their way to other pools",
     "create table volume_move(volume blob primary key check(length(volume) = 16),"
     "  source text not null references pool(name),"
     "  destination text not null references pool(name), name text not null,"
     "  state integer not null, drop_snapshots integer not null, rate integer not null,"
     "  paused integer not null) without rowid;",
     NULL},
    {"asynchronous events of targets",
     "alter table target add column async_events integer not null default 0;", NULL},
    {"the audit log to syslog servers",
     "alter table alert_channel add column audit integer not null default 0;", NULL},
    {"snapshots that may be given up",
     "alter table snapshot_schedule add column expendable integer not null default 0;", NULL},
    {"NFS over TLS", "alter table share_rule add column security integer not null default 0;",
     NULL},
    {"what was deleted, for a while",
     "alter table pool add column undelete_hours integer not null default 72;"
     "create table bin(volume blob primary key check(length(volume) = 16),"
     "  pool text not null references pool(name) on delete cascade, name text not null,"
     "  kept_as text not null, who text not null, deleted integer not null,"
     "  until integer not null);",
     NULL},
    {"directories of the machine",
     "create table directory(name text primary key, path text not null unique,"
     "  uuid blob not null unique check(length(uuid) = 16), secret blob not null,"
     "  versions integer not null) without rowid;"
     "create table directory_rule("
     "  directory text not null references directory(name) on delete cascade,"
     "  position integer not null, client text not null, insecure integer not null,"
     "  squash integer not null, anon_uid integer not null, anon_gid integer not null,"
     "  security integer not null, primary key(directory, position),"
     "  unique(directory, client)) without rowid;",
     NULL},
    {"time zones of schedules",
     "alter table snapshot_schedule add column zone text not null default '';", NULL},
    {"how many sessions a target may have",
     "alter table target add column max_sessions integer not null default 0;"
     "alter table target add column max_sessions_per_initiator integer not null default 0;",
     NULL},
};

const struct config_migration *store_schema(unsigned *ret_count)
{
	*ret_count = sizeof migrations / sizeof *migrations;
	return migrations;
}

/* Runs @row for each row of @sql. */
static int each_row(struct config *config, const char *sql, struct model *model,
		    int (*row)(struct config_statement *statement, struct model *model),
		    struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, sql, &statement, err);

	if (result < 0)
		return result;
	while ((result = config_step(statement, err)) > 0) {
		result = row(statement, model);
		if (result < 0) {
			err_set(err, result, "configuration: %s",
				result == -ENOMEM ? "out of memory" : "a row makes no sense");
			break;
		}
	}
	config_finish(statement);
	return result < 0 ? result : 0;
}

static int uuid_column(struct config_statement *statement, int column, uint8_t uuid[16])
{
	int length;
	const void *data = config_blob(statement, column, &length);

	if (length != 16)
		return -EINVAL;
	memcpy(uuid, data, 16);
	return 0;
}

static int load_pool(struct config_statement *statement, struct model *model)
{
	struct model_pool *pool = model_pool_add(model, config_text(statement, 0));

	if (!pool)
		return -ENOMEM;
	snprintf(pool->reason, sizeof pool->reason, "not opened yet");
	return uuid_column(statement, 1, pool->uuid);
}

static int load_share(struct config_statement *statement, struct model *model)
{
	struct model_share *share;
	uint8_t volume[16];
	int64_t versions = config_number(statement, 3), snapshots = config_number(statement, 4);
	int result = uuid_column(statement, 0, volume);

	if (result < 0)
		return result;
	share =
	    model_share_add(model, config_text(statement, 1), config_text(statement, 2), volume);
	if (!share)
		return -ENOMEM;
	share->versions = (unsigned)versions;
	share->snapshots = (enum share_snapshots)snapshots;
	return versions > 0 && !(versions & ~(int64_t)NFS_VERSIONS_ALL) && snapshots >= 0 &&
		       snapshots <= SHARE_SNAPSHOTS_NONE
		   ? 0
		   : -EINVAL;
}

static int load_device(struct config_statement *statement, struct model *model)
{
	struct model_pool *pool = model_pool_find(model, config_text(statement, 0));

	return pool ? model_pool_add_path(pool, config_text(statement, 1)) : -EINVAL;
}

static int load_target(struct config_statement *statement, struct model *model)
{
	struct model_target *target =
	    model_target_add(model, config_text(statement, 0), config_text(statement, 1));

	if (!target)
		return -ENOMEM;
	snprintf(target->redirect, sizeof target->redirect, "%s", config_text(statement, 2));
	target->async_events = config_number(statement, 3) != 0;
	target->limits.target = (unsigned)config_number(statement, 4);
	target->limits.initiator = (unsigned)config_number(statement, 5);
	return 0;
}

static int load_lun(struct config_statement *statement, struct model *model)
{
	struct model_target *target = model_target_find(model, config_text(statement, 0));
	struct model_lun *lun;

	if (!target)
		return -EINVAL;
	lun = model_lun_add(target, (unsigned)config_number(statement, 1));
	if (!lun)
		return -ENOMEM;
	snprintf(lun->pool, sizeof lun->pool, "%s", config_text(statement, 2));
	snprintf(lun->volume_name, sizeof lun->volume_name, "%s", config_text(statement, 4));
	lun->mode.read_only = config_number(statement, 5) != 0;
	lun->mode.cdrom = config_number(statement, 6) != 0;
	return uuid_column(statement, 3, lun->volume);
}

/* A secret of a store from before they were sealed is plain. One that can not be opened (another
 * machine's key) lets nobody in, and stops nothing else. */
static int load_secret(struct config_statement *statement, int column, bool sealed,
		       const char *owner, const char *kind, uint8_t *secret, unsigned *ret_length,
		       struct model_sealed *ret_sealed)
{
	int length;
	const void *data = config_blob(statement, column, &length);

	if (length < 0 || (!sealed && length > 255))
		return -EINVAL;
	if (!sealed && length)
		memcpy(secret, data, (size_t)length);
	*ret_length = (unsigned)length;
	if (!sealed || secret_unseal(data, (unsigned)length, owner, kind, secret, ret_length))
		return 0;
	log_error("target %s: a %s secret can not be opened with secret.key; set it again", owner,
		  kind);
	secret_impossible(secret, ret_length);
	if ((unsigned)length <= sizeof ret_sealed->bytes) {
		memcpy(ret_sealed->bytes, data, (size_t)length);
		ret_sealed->length = (unsigned)length;
	}
	return *ret_length ? 0 : -EIO;
}

static int load_rule(struct config_statement *statement, struct model *model)
{
	struct model_target *target = model_target_find(model, config_text(statement, 0));
	struct model_rule *grown, *rule;
	bool sealed;
	int result;

	if (!target)
		return -EINVAL;
	grown = heap_resize(target->rules, (target->rule_count + 1) * sizeof *grown);
	if (!grown)
		return -ENOMEM;
	target->rules = grown;
	rule = &grown[target->rule_count++];
	memset(rule, 0, sizeof *rule);
	rule->id = config_number(statement, 1);
	snprintf(rule->rule.initiator, sizeof rule->rule.initiator, "%s",
		 config_text(statement, 2));
	snprintf(rule->rule.network, sizeof rule->rule.network, "%s", config_text(statement, 3));
	snprintf(rule->rule.chap_user, sizeof rule->rule.chap_user, "%s",
		 config_text(statement, 4));
	snprintf(rule->rule.mutual_user, sizeof rule->rule.mutual_user, "%s",
		 config_text(statement, 6));
	sealed = config_number(statement, 8) != 0;
	model->plain_secrets |= !sealed;
	result = load_secret(statement, 5, sealed, target->iqn, "CHAP", rule->rule.chap_secret,
			     &rule->rule.chap_secret_length, &rule->chap);
	if (result == 0)
		result = load_secret(statement, 7, sealed, target->iqn, "mutual CHAP",
				     rule->rule.mutual_secret, &rule->rule.mutual_secret_length,
				     &rule->mutual);
	return result;
}

#define SHARE_COLUMNS "select volume, pool, name, versions, snapshots from share"
#define RULE_COLUMNS                                                                               \
	"select volume, client, read_only, insecure, squash, anon_uid, anon_gid, security"         \
	" from share_rule"

int store_load(struct config *config, struct model *model, struct err *err)
{
	static const struct {
		const char *sql;
		int (*row)(struct config_statement *statement, struct model *model);
	} parts[] = {
	    {"select name, uuid from pool order by name desc", load_pool},
	    {"select pool, path from pool_device order by pool, position", load_device},
	    {SHARE_COLUMNS " where volume not in (select volume from bin) order by name desc",
	     load_share},
	    {RULE_COLUMNS " where volume not in (select volume from bin) order by volume, position",
	     store_load_share_rule},
	    {"select iqn, alias, redirect, async_events, max_sessions, max_sessions_per_initiator"
	     " from target order by iqn desc",
	     load_target},
	    {"select target, lun, pool, volume, volume_name, read_only, cdrom from lun"
	     " order by target, lun",
	     load_lun},
	    {"select volume, source, destination, name, state, drop_snapshots, rate, paused"
	     " from volume_move",
	     store_load_move},
	    {"select target, id, initiator, network, chap_user, chap_secret, mutual_user,"
	     " mutual_secret, sealed from rule order by target, position",
	     load_rule},
	};

	for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) {
		int result = each_row(config, parts[i].sql, model, parts[i].row, err);

		if (result < 0)
			return result;
	}
	return bin_load(config, model, err);
}

static int load_of(struct config *config, struct model *model, const char *sql,
		   const uint8_t volume[16],
		   int (*row)(struct config_statement *statement, struct model *model),
		   struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, sql, &statement, err);

	if (result < 0)
		return result;
	config_bind_blob(statement, 1, volume, 16);
	while ((result = config_step(statement, err)) > 0)
		if (row(statement, model) < 0) {
			result = err_set(err, -EINVAL, "configuration: a row makes no sense");
			break;
		}
	config_finish(statement);
	return result;
}

static int rename_share(struct config *config, const uint8_t volume[16], const char *name,
			struct err *err)
{
	struct config_statement *statement;
	int result =
	    config_prepare(config, "update share set name = ? where volume = ?", &statement, err);

	if (result < 0)
		return result;
	config_bind_text(statement, 1, name);
	config_bind_blob(statement, 2, volume, 16);
	result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

int store_load_share_of(struct config *config, struct model *model, const uint8_t volume[16],
			const char *name, struct model_share **ret_share, struct err *err)
{
	struct model_share *share;
	int result = rename_share(config, volume, name, err);

	if (result == 0)
		result = load_of(config, model, SHARE_COLUMNS " where volume = ?", volume,
				 load_share, err);
	share = model_share_of_volume(model, volume);
	if (result == 0 && share)
		result = load_of(config, model, RULE_COLUMNS " where volume = ? order by position",
				 volume, store_load_share_rule, err);
	if (result == 0 && !share)
		result = err_set(err, -ENOENT, "the share's row is gone");
	if (result == 0 && ret_share)
		*ret_share = share;
	else if (result < 0 && share)
		model_share_remove(share);
	return result;
}

/* Steps a prepared statement to its end and drops it. */
static int run(struct config_statement *statement, struct err *err)
{
	int result = config_step(statement, err);

	config_finish(statement);
	return result < 0 ? result : 0;
}

int store_set_pool_paths(struct config *config, const struct model_pool *pool, struct err *err)
{
	int result =
	    config_run(config, err, "delete from pool_device where pool = ?", "s", pool->name);

	for (unsigned i = 0; result == 0 && i < pool->path_count; i++)
		result = config_run(config, err,
				    "insert into pool_device(pool, position, path) values(?, ?, ?)",
				    "sis", pool->name, (int)i, pool->paths[i]);
	return result;
}

int store_add_pool(struct config *config, const struct model_pool *pool, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, "insert into pool(name, uuid, backend) values(?, ?, ?)",
				    &statement, err);

	if (result < 0)
		return result;
	config_bind_text(statement, 1, pool->name);
	config_bind_blob(statement, 2, pool->uuid, sizeof pool->uuid);
	config_bind_text(statement, 3, model_pool_kind(pool));
	result = run(statement, err);
	return result < 0 ? result : store_set_pool_paths(config, pool, err);
}

int store_remove_pool(struct config *config, const char *name, struct err *err)
{
	int result = config_run(config, err,
				"delete from share where volume in"
				" (select volume from bin where pool = ?)",
				"s", name);

	return result < 0 ? result
			  : config_run(config, err, "delete from pool where name = ?", "s", name);
}

int store_add_target(struct config *config, const struct model_target *target, struct err *err)
{
	return config_run(config, err, "insert into target(iqn, alias) values(?, ?)", "ss",
			  target->iqn, target->alias);
}

int store_set_target(struct config *config, const struct model_target *target, struct err *err)
{
	return config_run(config, err,
			  "update target set redirect = ?, async_events = ?, max_sessions = ?,"
			  " max_sessions_per_initiator = ? where iqn = ?",
			  "siiis", target->redirect, (int)target->async_events,
			  (int)target->limits.target, (int)target->limits.initiator, target->iqn);
}

int store_remove_target(struct config *config, const char *iqn, struct err *err)
{
	return config_run(config, err, "delete from target where iqn = ?", "s", iqn);
}

static int last_rule_id(struct config *config, int64_t *ret_id, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, "select last_insert_rowid()", &statement, err);

	if (result < 0)
		return result;
	result = config_step(statement, err);
	if (result > 0)
		*ret_id = config_number(statement, 0);
	config_finish(statement);
	return result < 0 ? result : 0;
}

static bool bind_secret(struct config_statement *statement, int column, const uint8_t *secret,
			unsigned length, const char *owner, const char *kind,
			const struct model_sealed *unopened)
{
	uint8_t sealed[SECRET_SEALED];
	int bytes;

	if (unopened->length) {
		config_bind_blob(statement, column, unopened->bytes, (int)unopened->length);
		return true;
	}
	bytes = secret_seal(secret, length, owner, kind, sealed);
	if (bytes < 0)
		return false;
	config_bind_blob(statement, column, sealed, bytes);
	return true;
}

static int add_rule(struct config *config, const char *iqn, int position, struct model_rule *rule,
		    struct err *err)
{
	const struct iscsi_rule *plain = &rule->rule;
	struct config_statement *statement;
	int result = config_prepare(
	    config,
	    "insert into rule(id, target, position, initiator, network, chap_user, chap_secret,"
	    " mutual_user, mutual_secret, sealed) values(?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
	    &statement, err);

	if (result < 0)
		return result;
	if (rule->id)
		config_bind_number(statement, 1, rule->id);
	config_bind_text(statement, 2, iqn);
	config_bind_number(statement, 3, position);
	config_bind_text(statement, 4, plain->initiator);
	config_bind_text(statement, 5, plain->network);
	config_bind_text(statement, 6, plain->chap_user);
	config_bind_text(statement, 8, plain->mutual_user);
	if (!bind_secret(statement, 7, plain->chap_secret, plain->chap_secret_length, iqn, "CHAP",
			 &rule->chap) ||
	    !bind_secret(statement, 9, plain->mutual_secret, plain->mutual_secret_length, iqn,
			 "mutual CHAP", &rule->mutual)) {
		config_finish(statement);
		return err_set(err, -EIO, "a secret can not be encrypted");
	}
	result = run(statement, err);
	if (result == 0 && rule->id == 0)
		result = last_rule_id(config, &rule->id, err);
	return result;
}

int store_set_rules(struct config *config, const char *iqn, struct model_rule *rules,
		    unsigned count, struct err *err)
{
	int result = config_run(config, err, "delete from rule where target = ?", "s", iqn);

	for (unsigned i = 0; result == 0 && i < count; i++)
		result = add_rule(config, iqn, (int)i, &rules[i], err);
	return result;
}

int store_seal_secrets(struct config *config, struct model *model, struct err *err)
{
	int result = config_begin(config, err);

	list_for_each (it, &model->targets) {
		struct model_target *target = list_entry(it, struct model_target, link);

		if (result == 0)
			result = store_set_rules(config, target->iqn, target->rules,
						 target->rule_count, err);
	}
	if (result == 0)
		result = config_commit(config, err);
	config_abort(config);
	model->plain_secrets = result < 0;
	return result;
}

int store_add_lun(struct config *config, const char *iqn, const struct model_lun *lun,
		  struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(
	    config,
	    "insert into lun(target, lun, pool, volume, volume_name, read_only, cdrom)"
	    " values(?, ?, ?, ?, ?, ?, ?)",
	    &statement, err);

	if (result < 0)
		return result;
	config_bind_text(statement, 1, iqn);
	config_bind_number(statement, 2, lun->lun);
	config_bind_text(statement, 3, lun->pool);
	config_bind_blob(statement, 4, lun->volume, sizeof lun->volume);
	config_bind_text(statement, 5, lun->volume_name);
	config_bind_number(statement, 6, lun->mode.read_only);
	config_bind_number(statement, 7, lun->mode.cdrom);
	return run(statement, err);
}

int store_set_lun_mode(struct config *config, const char *iqn, const struct model_lun *lun,
		       struct err *err)
{
	return config_run(config, err, "update lun set read_only = ? where target = ? and lun = ?",
			  "isi", (int)lun->mode.read_only, iqn, (int)lun->lun);
}

int store_remove_lun(struct config *config, const char *iqn, unsigned lun, struct err *err)
{
	return config_run(config, err, "delete from lun where target = ? and lun = ?", "si", iqn,
			  (int)lun);
}

int store_rename_volume(struct config *config, const uint8_t uuid[16], const char *name,
			struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config, "update lun set volume_name = ? where volume = ?",
				    &statement, err);

	if (result < 0)
		return result;
	config_bind_text(statement, 1, name);
	config_bind_blob(statement, 2, uuid, 16);
	return run(statement, err);
}
