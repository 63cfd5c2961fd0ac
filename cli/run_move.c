/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "core/size.h"

/* Moving volumes to other pools: starting, watching, and what is said to one on its way. */

static const char *text_of(const json_t *move, const char *key)
{
	const char *text = json_string_value(json_object_get(move, key));

	return text ? text : "";
}

/* The move of the volume that was named, a new reference; NULL: there is none (any more). */
static json_t *find_move(const json_t *moves, const struct object_name *name)
{
	size_t i;
	json_t *move;

	json_array_foreach((json_t *)moves, i, move)
	{
		if (strcmp(text_of(move, "source"), name->pool) == 0 &&
		    strcmp(text_of(move, "name"), name->name) == 0)
			return json_incref(move);
	}
	return NULL;
}

static int look(struct command *command, const struct object_name *name, json_t **ret_move)
{
	json_t *moves;
	int status = command_call(command, "GET", NULL, &moves, "/api/v1/moves");

	*ret_move = NULL;
	if (status)
		return status;
	*ret_move = find_move(moves, name);
	json_decref(moves);
	return EXIT_GOOD;
}

/* Until it is over, or waits for somebody. *@move: as it was last; NULL when it is over. */
static int wait_for_end(struct command *command, const struct object_name *name, json_t **move)
{
	const struct timespec pause = {.tv_nsec = 200000000};
	int status = EXIT_GOOD;

	while (status == EXIT_GOOD && *move && strcmp(text_of(*move, "state"), "stuck") != 0 &&
	       strcmp(text_of(*move, "state"), "paused") != 0) {
		json_decref(*move);
		nanosleep(&pause, NULL);
		status = look(command, name, move);
	}
	return status;
}

static int tell(struct command *command, json_t *move)
{
	char *reason = strdup(text_of(move, "reason"));
	bool stuck = strcmp(text_of(move, "state"), "stuck") == 0;
	char left[32];
	int status;

	size_format((uint64_t)json_integer_value(json_object_get(move, "left_bytes")), left,
		    sizeof left);
	status =
	    say(command, json_incref(move), "%s to pool %s: %s, %s left%s%s",
		text_of(move, "object"), text_of(move, "destination"), text_of(move, "state"), left,
		reason && reason[0] && !stuck ? ": " : "", reason && !stuck ? reason : "");
	if (status == EXIT_GOOD && stuck)
		status = command_fail("%s", reason ? reason : "");
	free(reason);
	json_decref(move);
	return status;
}

/* It is over: in which way? */
static int tell_end(struct command *command, const struct object_name *name)
{
	const char *to = command->position[1];
	json_t *volume;
	int status;

	if (!to)
		return say(command, json_object(), "%s is not on the move", command->position[0]);
	status =
	    command_call(command, "GET", NULL, &volume, "/api/v1/volumes/%s/%s", to, name->name);
	return status ? status : say(command, volume, "volume %s/%s is here", to, name->name);
}

/* -1: go on; else the exit status. */
static int read_action(struct command *command, const char **ret_action)
{
	static const char *const actions[] = {"pause", "resume", "stop"};
	unsigned given = 0;

	*ret_action = command->position[1] ? "start" : "rate";
	for (unsigned i = 0; i < sizeof actions / sizeof *actions; i++)
		if (command_option(command, actions[i])) {
			*ret_action = actions[i];
			given++;
		}
	if (given + (command->position[1] != NULL) <= 1 &&
	    (given || command->position[1] || command_option(command, "rate") ||
	     command_option(command, "status") || command_option(command, "wait")))
		return -1;
	command_fail("say where to, or one of --pause, --resume, --stop, --rate and --status");
	return EXIT_USAGE;
}

static int act(struct command *command, const struct object_name *name, const char *action,
	       json_t **ret_move)
{
	json_t *body = json_pack("{s:s}", "action", action);
	const char *rate = command_option(command, "rate");

	if (command->position[1] && strcmp(action, "start") == 0)
		json_object_set_new(body, "pool", json_string(command->position[1]));
	if (rate)
		json_object_set_new(body, "rate", json_string(rate));
	if (command_option(command, "without-snapshots"))
		json_object_set_new(body, "without_snapshots", json_true());
	return command_call(command, "POST", body, ret_move, "/api/v1/volumes/%s/%s/move",
			    name->pool, name->name);
}

int run_volume_move(struct command *command)
{
	struct object_name name;
	const char *action;
	json_t *move = NULL;
	int status = command_split(command->position[0], "volume", &name);

	if (status)
		return status;
	status = read_action(command, &action);
	if (status >= 0)
		return status;
	if (strcmp(action, "rate") == 0 && !command_option(command, "rate"))
		status = look(command, &name, &move);
	else
		status = act(command, &name, action, &move);
	if (status == EXIT_GOOD && command_option(command, "wait"))
		status = wait_for_end(command, &name, &move);
	if (status)
		return status;
	return move ? tell(command, move) : tell_end(command, &name);
}
