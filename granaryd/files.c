/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "granaryd/granaryd.h"

/* Made once, whole or not at all: a new name is linked to what is durable. */
static int make_identity(int dir, const char *path, uint8_t identity[FILES_IDENTITY])
{
	char fresh[] = "nfs-identity.new";
	int fd, result = 0;

	if (getrandom(identity, FILES_IDENTITY, 0) != FILES_IDENTITY)
		return -EIO;
	fd = openat(dir, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	if (write(fd, identity, FILES_IDENTITY) != FILES_IDENTITY || fsync(fd) < 0 ||
	    renameat(dir, fresh, dir, path) < 0 || fsync(dir) < 0)
		result = errno ? -errno : -EIO;
	close(fd);
	return result;
}

int files_identity(const char *state_dir, uint8_t identity[FILES_IDENTITY], struct err *err)
{
	static const char name[] = "nfs-identity";
	int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1, result = 0;

	if (dir < 0)
		return err_set(err, -errno, "%s: %s", state_dir, strerror(errno));
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)
		result = make_identity(dir, name, identity);
	else if (fd < 0)
		result = -errno;
	else if (read(fd, identity, FILES_IDENTITY) != FILES_IDENTITY)
		result = -EIO;
	if (fd >= 0)
		close(fd);
	close(dir);
	if (result < 0)
		return err_set(err, result, "%s/%s: %s", state_dir, name, strerror(-result));
	return 0;
}

int files_listen_portmap(struct nfs_server *nfs, const char *address, struct err *err)
{
	return nfs_listen(nfs, address, NFS_PORTMAP_PORT, NFS_PORT_PORTMAP, NULL, err);
}

static int listen_one(struct nfs_server *nfs, const char *address, const struct options *options,
		      uint16_t *port, struct err *err)
{
	bool apart = options->mount_port && options->mount_port != options->nfs_port;
	unsigned roles = NFS_PORT_NFS | (apart ? 0 : NFS_PORT_MOUNT);
	int result = nfs_listen(nfs, address, *port, roles, port, err);

	if (result == 0 && apart)
		result = nfs_listen(nfs, address, options->mount_port, NFS_PORT_MOUNT, NULL, err);
	return result;
}

int files_listen(struct nfs_server *nfs, const struct options *options,
		 const char *const *addresses, unsigned count, struct err *err)
{
	uint16_t port = options->nfs_port;

	for (unsigned i = 0; i < count; i++) {
		int result = listen_one(nfs, addresses[i], options, &port, err);

		if (result < 0) {
			nfs_unlisten(nfs);
			return result;
		}
	}
	return 0;
}
