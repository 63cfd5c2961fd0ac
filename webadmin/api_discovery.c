/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"
#include "webadmin/secret.h"

/* CHAP for discovery sessions (RFC 7143 9.2.1): one user for all, or none asked. */

#define OWNER "discovery"

static bool bind_secret(struct config_statement *statement, int column, const uint8_t *secret,
			unsigned length, const char *kind)
{
	uint8_t sealed[SECRET_SEALED];
	int bytes = secret_seal(secret, length, OWNER, kind, sealed);

	if (bytes >= 0)
		config_bind_blob(statement, column, sealed, bytes);
	return bytes >= 0;
}

static int add_row(struct config *config, const struct iscsi_rule *rule, struct err *err)
{
	struct config_statement *statement;
	int result = config_prepare(config,
				    "insert into discovery(id, chap_user, chap_secret,"
				    " mutual_user, mutual_secret) values(1, ?, ?, ?, ?)",
				    &statement, err);

	if (result < 0)
		return result;
	config_bind_text(statement, 1, rule->chap_user);
	config_bind_text(statement, 3, rule->mutual_user);
	if (!bind_secret(statement, 2, rule->chap_secret, rule->chap_secret_length, "CHAP") ||
	    !bind_secret(statement, 4, rule->mutual_secret, rule->mutual_secret_length,
			 "mutual CHAP"))
		result = err_set(err, -EIO, "a secret can not be encrypted");
	else
		result = config_step(statement, err);
	config_finish(statement);
	return result < 0 ? result : 0;
}

/* What could not be stored is not asked for either. */
static void put_back(struct api_request *request)
{
	const struct iscsi_rule *before = &request->model->discovery;
	struct err err = {0};

	if (iscsi_server_set_discovery_rule(request->admin->options.iscsi,
					    before->chap_user[0] ? before : NULL, &err) < 0)
		log_error("the old rule of discovery could not be put back: %s", err.text);
}

/* @rule NULL: none is asked any more. The store first. */
static int change(struct api_request *request, const struct iscsi_rule *rule)
{
	struct config *config = request->admin->options.config;
	int result = config_begin(config, &request->err);

	if (result == 0)
		result = config_run(config, &request->err, "delete from discovery", "");
	if (result == 0 && rule)
		result = add_row(config, rule, &request->err);
	if (result == 0 && api_is_dry(request))
		return 0;
	if (result == 0)
		result = iscsi_server_set_discovery_rule(request->admin->options.iscsi, rule,
							 &request->err);
	if (result < 0) {
		config_abort(config);
		return result;
	}
	result = config_commit(config, &request->err);
	if (result < 0)
		put_back(request);
	return result;
}

static json_t *show(const struct iscsi_rule *rule)
{
	return json_pack("{s:s,s:s}", "chap_user", rule->chap_user, "mutual_user",
			 rule->mutual_user);
}

static void reply(struct api_request *request)
{
	api_reply(request, 200, show(&request->model->discovery));
}

static void reply_dry(struct api_request *request, const struct iscsi_rule *rule)
{
	api_reply_dry(request, json_string("discovery"), show(&request->model->discovery),
		      show(rule));
}

void api_discovery_show(struct api_request *request)
{
	reply(request);
}

void api_discovery_set(struct api_request *request)
{
	struct iscsi_rule rule = {0};

	if (!api_read_rule(request, &rule))
		return;
	if (rule.chap_user[0] == '\0') {
		api_reply_error(request, 400, "bad_rule", "a CHAP user and its secret are needed");
	} else if (change(request, &rule) < 0) {
		api_reply_failure(request, NULL);
	} else if (api_is_dry(request)) {
		reply_dry(request, &rule);
	} else {
		request->model->discovery = rule;
		log_notice("audit: %s asks for CHAP in discovery", request->who.name);
		reply(request);
	}
	explicit_bzero(&rule, sizeof rule);
}

void api_discovery_clear(struct api_request *request)
{
	if (change(request, NULL) < 0) {
		api_reply_failure(request, NULL);
		return;
	}
	if (api_is_dry(request)) {
		static const struct iscsi_rule none;

		reply_dry(request, &none);
		return;
	}
	explicit_bzero(&request->model->discovery, sizeof request->model->discovery);
	log_notice("audit: %s asks for nothing in discovery", request->who.name);
	reply(request);
}

static void load_secret(struct config_statement *statement, int column, const char *kind,
			uint8_t *secret, unsigned *ret_length)
{
	int length;
	const void *sealed = config_blob(statement, column, &length);

	if (secret_unseal(sealed, (unsigned)length, OWNER, kind, secret, ret_length))
		return;
	log_error("discovery: a %s secret can not be opened with secret.key; set it again", kind);
	secret_impossible(secret, ret_length);
}

int discovery_load(struct config *config, struct model *model, struct iscsi_server *iscsi,
		   struct err *err)
{
	struct iscsi_rule *rule = &model->discovery;
	struct config_statement *statement;
	int result = config_prepare(
	    config, "select chap_user, chap_secret, mutual_user, mutual_secret from discovery",
	    &statement, err);

	if (result < 0)
		return result;
	result = config_step(statement, err);
	if (result > 0) {
		snprintf(rule->chap_user, sizeof rule->chap_user, "%s", config_text(statement, 0));
		snprintf(rule->mutual_user, sizeof rule->mutual_user, "%s",
			 config_text(statement, 2));
		load_secret(statement, 1, "CHAP", rule->chap_secret, &rule->chap_secret_length);
		load_secret(statement, 3, "mutual CHAP", rule->mutual_secret,
			    &rule->mutual_secret_length);
	}
	config_finish(statement);
	return result > 0 ? iscsi_server_set_discovery_rule(iscsi, rule, err) : result;
}
