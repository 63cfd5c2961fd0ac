/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "granaryd/granaryd.h"

static bool is_wildcard(const char *address)
{
	return strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
}

/* "address:port", "[address]:port" */
static const char *endpoint(const struct iscsi_portal_info *portal, bool reachable, char text[80])
{
	const char *address = portal->address;

	if (reachable && is_wildcard(address))
		address = strcmp(address, "::") == 0 ? "::1" : "127.0.0.1";
	snprintf(text, 80, strchr(address, ':') ? "[%s]:%u" : "%s:%u", address, portal->port);
	return text;
}

/* The command to type: the one beside the daemon ("build/granary" in a clone), else by name. */
static const char *cli_name(char text[PATH_MAX])
{
	const char *slash = strrchr(program_invocation_name, '/');
	int folder = slash ? (int)(slash - program_invocation_name) + 1 : 0;

	snprintf(text, PATH_MAX, "%.*sgranary", folder, program_invocation_name);
	return folder && access(text, X_OK) == 0 ? text : "granary";
}

static void print_demo(const struct iscsi_portal_info *portal, const char *state_dir,
		       const char *naa)
{
	char where[80], host[64], cli[PATH_MAX];

	endpoint(portal, true, where);
	snprintf(host, sizeof host, "%.*s", (int)(strrchr(where, ':') - where), where);
	printf("\nThe demo target is open to this host only; let others in with\n"
	       "  %s --state %s target allow " DEMO_TARGET " --network CIDR\n"
	       "\nopen-iscsi:\n"
	       "  iscsiadm -m discovery -t sendtargets -p %s && "
	       "iscsiadm -m node -T " DEMO_TARGET " -p %s --login\n"
	       "\nQEMU:\n"
	       "  qemu-system-x86_64 -m 1024 -drive "
	       "file=iscsi://%s/" DEMO_TARGET "/0,format=raw,if=virtio,cache=none\n"
	       "\nXCP-ng:\n"
	       "  xe sr-create name-label=granary shared=true type=lvmoiscsi content-type=user "
	       "device-config:target=%s device-config:port=%u "
	       "device-config:targetIQN=" DEMO_TARGET " device-config:SCSIid=3%s\n"
	       "\nProxmox VE:\n"
	       "  pvesm add iscsi granary --portal %s --target " DEMO_TARGET
	       " --content images\n\n",
	       cli_name(cli), state_dir, where, where, where, host, portal->port, naa, where);
}

/* The demo share, where NFS is served. A client that asks port 111 needs no port told. */
static void print_demo_share(const struct nfs_server *nfs, const char *host)
{
	unsigned nfs_at = nfs_port(nfs, NFS_PORT_NFS), mount_at = nfs_port(nfs, NFS_PORT_MOUNT);

	printf("NFS:\n"
	       "  mount -t nfs -o vers=4.1,port=%u %s:/files /mnt\n"
	       "  mount -t nfs -o vers=3,nolock,tcp,port=%u,mountport=%u,mountproto=tcp %s:/files "
	       "/mnt\n"
	       "\n",
	       nfs_at, host, nfs_at, mount_at, host);
}

void ready_print_setup_code(const char *code)
{
	printf("SETUP code=%s (makes the first account of the web admin)\n", code);
}

void ready_print(struct iscsi_server *iscsi, const struct nfs_server *nfs, uint16_t repl_port,
		 const char *control_path, const char *state_dir, const char *demo_naa)
{
	struct iscsi_portal_info portal;
	char text[80];

	printf("READY");
	for (unsigned i = 0; iscsi_portal_next(iscsi, i, &portal); i++)
		printf(" iscsi=%s", endpoint(&portal, false, text));
	if (nfs_port(nfs, NFS_PORT_NFS))
		printf(" nfs=%u", nfs_port(nfs, NFS_PORT_NFS));
	if (repl_port)
		printf(" replication=%u", repl_port);
	printf(" control=%s\n", control_path);
	if (demo_naa[0] && iscsi_portal_next(iscsi, 0, &portal))
		print_demo(&portal, state_dir, demo_naa);
	if (demo_naa[0] && nfs_port(nfs, NFS_PORT_NFS))
		print_demo_share(nfs, "127.0.0.1");
	fflush(stdout);
}
