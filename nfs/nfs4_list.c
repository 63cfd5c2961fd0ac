/* SPDX-License-Identifier: Apache-2.0 */
/* nfs4_list.c: the clients of NFSv4 for those who administer them: who they are, what they have
 * open, locked and delegated, and how it is taken from one that does not let go. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "nfs/nfs4_deleg.h"

static void put_name(const struct nfs4_client *client, char *name, size_t room)
{
	size_t length = client->owner_length < room - 1 ? client->owner_length : room - 1;

	for (size_t i = 0; i < length; i++)
		name[i] =
		    (char)(client->owner[i] > ' ' && client->owner[i] < 0x7f ? client->owner[i]
									     : ' ');
	name[length] = '\0';
}

static void count_states(const struct nfs4_client *client, struct nfs_client_info *info)
{
	list_for_each (it, &client->owners) {
		const struct nfs4_owner *owner = list_entry(it, struct nfs4_owner, link);

		list_for_each (at, &owner->states) {
			const struct nfs4_state *state = list_entry(at, struct nfs4_state, link);

			if (owner->is_lock)
				info->locks++;
			else if (!state->closed)
				info->opens++;
		}
	}
}

static void put_info(const struct nfs4_client *client, uint64_t now, struct nfs_client_info *info)
{
	*info = (struct nfs_client_info){
	    .id = client->id,
	    .minor = client->minor,
	    .sessions = client->sessions,
	    .callable = client->path == NFS4_PATH_UP,
	    .silent_ns = now > client->renewed_ns ? now - client->renewed_ns : 0,
	};
	if (!inet_ntop(client->peer.family, client->peer.bytes, info->address,
		       sizeof(info->address)))
		info->address[0] = '\0';
	put_name(client, info->name, sizeof(info->name));
	count_states(client, info);
	info->delegations = nfs4_delegation_count(client, &info->recalled);
}

unsigned nfs_clients(struct nfs_server *server, struct nfs_client_info *infos, unsigned room)
{
	struct nfs4_server *nfs4 = server->nfs4;
	uint64_t now = loop_now(server->options.control);
	unsigned count = 0;

	pthread_mutex_lock(&nfs4->lock);
	list_for_each (it, &nfs4->clients) {
		const struct nfs4_client *client = list_entry(it, struct nfs4_client, link);

		if (client->confirmed && count < room)
			put_info(client, now, &infos[count++]);
	}
	pthread_mutex_unlock(&nfs4->lock);
	return count;
}

int nfs_client_release(struct nfs_server *server, uint64_t id)
{
	struct nfs4_server *nfs4 = server->nfs4;
	struct nfs4_client *client;
	int result = 0;

	pthread_mutex_lock(&nfs4->lock);
	client = nfs4_client_by_id(nfs4, id);
	if (!client)
		result = -ENOENT;
	else if (!nfs4_take_all(nfs4, client))
		result = -EBUSY;
	pthread_mutex_unlock(&nfs4->lock);
	if (result == 0)
		log_notice("NFS: what client %016llx had open, locked and delegated is taken from "
			   "it, as ordered",
			   (unsigned long long)id);
	return result;
}
