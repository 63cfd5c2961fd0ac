/* SPDX-License-Identifier: Apache-2.0 */
/* api_nfs.c: the clients of NFSv4. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/heap.h"
#include "nfs/nfs.h"
#include "webadmin/admin.h"
#include "webadmin/api.h"

static json_t *show_client(const struct nfs_client_info *info)
{
	char id[17];

	snprintf(id, sizeof id, "%016llx", (unsigned long long)info->id);
	return json_pack("{s:s,s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:b,s:I}", "id", id, "address",
			 info->address, "name", info->name, "version", info->minor ? "4.1" : "4.0",
			 "sessions", (json_int_t)info->sessions, "opens", (json_int_t)info->opens,
			 "locks", (json_int_t)info->locks, "delegations",
			 (json_int_t)info->delegations, "recalled", (json_int_t)info->recalled,
			 "callable", (int)info->callable, "silent_seconds",
			 (json_int_t)(info->silent_ns / 1000000000));
}

void api_nfs_client_list(struct api_request *request)
{
	struct nfs_server *nfs = request->admin->options.nfs;
	struct nfs_client_info *infos = heap_zalloc_array(NFS_CLIENTS_MAX, sizeof *infos);
	json_t *list = json_array();
	unsigned count = infos && nfs ? nfs_clients(nfs, infos, NFS_CLIENTS_MAX) : 0;

	if (!infos) {
		json_decref(list);
		api_reply_error(request, 503, "no_memory", "out of memory");
		return;
	}
	for (unsigned i = 0; i < count; i++)
		json_array_append_new(list, show_client(&infos[i]));
	heap_free(infos);
	api_reply(request, 200, list);
}

/* What it would have no more. */
static void would_release(struct api_request *request, unsigned long long id)
{
	struct nfs_server *nfs = request->admin->options.nfs;
	struct nfs_client_info *infos = heap_zalloc_array(NFS_CLIENTS_MAX, sizeof *infos);
	unsigned count = infos && nfs ? nfs_clients(nfs, infos, NFS_CLIENTS_MAX) : 0, i = 0;
	json_t *before = NULL;

	while (i < count && infos[i].id != id)
		i++;
	if (i < count)
		before = json_pack("{s:s,s:s,s:I,s:I,s:I}", "name", infos[i].name, "address",
				   infos[i].address, "opens", (json_int_t)infos[i].opens, "locks",
				   (json_int_t)infos[i].locks, "delegations",
				   (json_int_t)infos[i].delegations);
	if (before)
		api_reply_dry(request, json_sprintf("NFS client %016llx", id), before,
			      json_object());
	else
		api_reply_error(request, 404, "client_not_found", "no NFS client with id %s",
				request->match.param[0]);
	heap_free(infos);
}

void api_nfs_client_release(struct api_request *request)
{
	struct nfs_server *nfs = request->admin->options.nfs;
	const char *text = request->match.param[0];
	unsigned long long id;
	char *end;
	int result = -ENOENT;

	id = strtoull(text, &end, 16);
	if (api_is_dry(request) && *text && !*end) {
		would_release(request, id);
		return;
	}
	if (nfs && *text && !*end)
		result = nfs_client_release(nfs, id);
	if (result == -EBUSY)
		api_reply_error(request, 409, "client_busy",
				"a request of client %s is at work; try again", text);
	else if (result < 0)
		api_reply_error(request, 404, "client_not_found", "no NFS client with id %s", text);
	else
		api_reply(request, 200, json_pack("{s:s}", "released", text));
}
