/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/heap.h"
#include "core/path_mtu.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

/* Do large packets arrive at the hosts? Asked of all at once, twice, in case one is lost. */
#define PLACES_MAX 32u
#define LOOK_NS    100000000ull
#define AGAIN      7u  /* looks, then all is sent once more */
#define LOOKS      20u /* then who has not answered does not */

struct place {
	char address[48];
	struct path_mtu path;
	struct err err;
	bool open, over;
};

struct check {
	struct api_request *request;
	struct timer timer;
	struct place places[PLACES_MAX];
	unsigned count, looks;
};

/* "192.0.2.1", "192.0.2.1:3260", "[2001:db8::1]:3260": of what stands there the address, once. */
static void add(struct check *check, const char *text)
{
	const char *colon = strrchr(text, ':');
	size_t length = strlen(text);
	struct place *place = &check->places[check->count];

	if (*text == '[') {
		text++;
		length = strcspn(text, "]");
	} else if (colon && strchr(text, ':') == colon) {
		length = (size_t)(colon - text);
	}
	if (check->count == PLACES_MAX || length == 0 || length >= sizeof place->address)
		return;
	snprintf(place->address, sizeof place->address, "%.*s", (int)length, text);
	for (unsigned i = 0; i < check->count; i++)
		if (strcmp(check->places[i].address, place->address) == 0)
			return;
	check->count++;
}

static void add_clients(struct check *check)
{
	struct nfs_server *nfs = check->request->admin->options.nfs;
	struct nfs_client_info *infos = heap_zalloc_array(NFS_CLIENTS_MAX, sizeof *infos);
	unsigned count = infos && nfs ? nfs_clients(nfs, infos, NFS_CLIENTS_MAX) : 0;

	for (unsigned i = 0; i < count; i++)
		add(check, infos[i].address);
	heap_free(infos);
}

static const char *state_of(const struct place *place)
{
	if (place->err.code)
		return "no_way";
	if (!place->path.carried)
		return "silent";
	return place->path.carried == place->path.sizes[0] ? "carried" : "too_large";
}

static json_t *detail_of(const struct place *place)
{
	const struct path_mtu *path = &place->path;

	if (place->err.code)
		return json_string(place->err.text);
	if (!path->carried)
		return json_sprintf(
		    "%s answers no echo request, of whatever size: nothing can be said",
		    place->address);
	if (path->carried == path->sizes[0])
		return json_sprintf("packets of %u bytes arrive whole and come back",
				    path->sizes[0]);
	return json_sprintf(
	    "packets of %u bytes, the MTU of %s, do not come back; of %u bytes they "
	    "do. Large reads and writes hang there: give %s an MTU of %u, or every "
	    "switch and host on the way one of %u",
	    path->sizes[0], path->interface, path->carried, path->interface, path->carried,
	    path->sizes[0]);
}

static void answer(struct check *check)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < check->count; i++) {
		const struct place *place = &check->places[i];

		json_array_append_new(
		    list, json_pack("{s:s,s:s,s:I,s:I,s:s,s:o}", "address", place->address,
				    "interface", place->path.interface, "mtu",
				    (json_int_t)(place->open ? place->path.sizes[0] : 0), "carried",
				    (json_int_t)place->path.carried, "state", state_of(place),
				    "detail", detail_of(place)));
		path_mtu_close(&check->places[i].path);
	}
	api_reply(check->request, 200, list);
}

static void look(struct timer *timer)
{
	struct check *check = container_of(timer, struct check, timer);
	bool over = true;

	check->looks++;
	for (unsigned i = 0; i < check->count; i++) {
		struct place *place = &check->places[i];

		if (!place->open || place->over)
			continue;
		place->over = path_mtu_receive(&place->path);
		over = over && place->over;
		if (!place->over && check->looks == AGAIN)
			path_mtu_send(&place->path);
	}
	if (over || check->looks == LOOKS)
		answer(check);
	else
		timer_start(&check->timer, LOOK_NS);
}

static void begin(struct check *check)
{
	bool any = false;

	for (unsigned i = 0; i < check->count; i++) {
		struct place *place = &check->places[i];

		place->open = path_mtu_open(&place->path, place->address, &place->err) == 0;
		if (place->open)
			path_mtu_send(&place->path);
		any = any || place->open;
	}
	if (any)
		timer_start(&check->timer, LOOK_NS);
	else
		answer(check);
}

static void with_sessions(void *context, const struct iscsi_session_info *sessions, unsigned count)
{
	struct check *check = context;

	for (unsigned i = 0; i < count; i++)
		add(check, sessions[i].peer);
	add_clients(check);
	begin(check);
}

void api_network_check(struct api_request *request)
{
	const json_t *addresses = json_object_get(request->body, "addresses");
	struct check *check = heap_zalloc(sizeof *check);
	size_t index;
	const json_t *text;

	if (!check) {
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	request->state = check;
	check->request = request;
	timer_init(&check->timer, request->admin->options.control, look);
	if (json_array_size(addresses) > PLACES_MAX) {
		api_reply_error(request, 400, "bad_request", "%u addresses at a time", PLACES_MAX);
		return;
	}
	if (!addresses) {
		iscsi_session_list(request->admin->options.iscsi, with_sessions, check);
		return;
	}
	json_array_foreach(addresses, index, text) add(check, json_string_value(text));
	begin(check);
}
