/* SPDX-License-Identifier: Apache-2.0 */
/* granary-state DEVICE: before the state partition is checked and mounted, mends the one thing that
 * a power cut does to its file system and that the check does not mend (superblock.h). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "appliance/superblock.h"

int main(int argc, char **argv)
{
	struct err err = {0};
	bool mended;
	int fd, result;

	if (argc != 2 || argv[1][0] == '-') {
		fprintf(stderr, "usage: granary-state DEVICE\n");
		return 2;
	}
	fd = open(argv[1], O_RDWR | O_EXCL | O_CLOEXEC); /* of a device: not while it is mounted */
	if (fd < 0) {
		fprintf(stderr, "granary-state: %s: %s\n", argv[1], strerror(errno));
		return 1;
	}
	result = superblock_mend(fd, &mended, &err);
	if (result < 0)
		fprintf(stderr, "granary-state: %s: %s\n", argv[1], err.text);
	else if (mended)
		fprintf(stderr,
			"granary-state: %s: the power went while its superblock was written; its "
			"checksum is mended\n",
			argv[1]);
	close(fd);
	return result < 0;
}
