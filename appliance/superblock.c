/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/superblock.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "core/bytes.h"
#include "core/crc32c.h"

/* Where it is, and where in it: Linux, fs/ext4/ext4.h, struct ext4_super_block. */
enum {
	PLACE = 1024,
	SIZE = 1024,
	SECTOR = 512,
	FIRST_BLOCK = 0x14,
	LOG_BLOCK_SIZE = 0x18,
	BLOCKS_PER_GROUP = 0x20,
	MAGIC = 0x38,
	GROUP = 0x5a,
	INCOMPAT = 0x60,
	RO_COMPAT = 0x64,
	CHECKSUM_TYPE = 0x175,
	CHECKSUM = 0x3fc,

	MAGIC_EXT4 = 0xef53,
	CRC32C = 1,
	LOG_BLOCK_SIZE_MAX = 6,
	METADATA_CSUM = 0x400,
	/* Come and go while it is mounted, in the first superblock alone. */
	RECOVER = 0x4,
	LARGE_FILE = 0x2,
	DIR_NLINK = 0x20,
	EXTRA_ISIZE = 0x40,
	ORPHAN_PRESENT = 0x10000,
};

/* The same in every copy for as long as the file system is not made or grown anew. */
static const struct {
	uint16_t at, length;
} lasting[] = {
    {0x00, 8},  /* inodes, blocks */
    {0x14, 24}, /* first block, sizes of blocks, clusters and groups */
    {0x38, 2},  /* magic */
    {0x48, 8},  /* system, revision */
    {0x54, 6},  /* first inode, size of one */
    {0x68, 16}, /* UUID */
    {0xe0, 8},  /* the journal's inode, device */
    {0xec, 18}, /* seed and version of names' hashes, backup of the journal's blocks */
    {0xfe, 2},  /* size of a group's descriptor */
    {0x104, 4}, /* first meta group */
    {0x150, 4}, /* blocks, upper half */
    {0x15c, 4}, /* extra size of inodes */
    {0x174, 2}, /* flexible groups, kind of checksum */
    {0x26c, 8}, /* quota of projects, seed of checksums */
    {0x27c, 8}, /* encoding, inode of orphans */
};

static uint32_t checksum_of(const uint8_t *super)
{
	return ~crc32c(0, super, CHECKSUM); /* ext4 leaves the last inversion out */
}

static bool fits(const uint8_t *super)
{
	return get32(super + CHECKSUM) == checksum_of(super);
}

static int read_at(int fd, uint8_t *super, uint64_t at, struct err *err)
{
	ssize_t n = pread(fd, super, SIZE, (off_t)at);

	if (n < 0)
		return err_set(err, -errno, "the superblock can not be read: %s", strerror(errno));
	return n == SIZE ? 0 : err_set(err, -EUCLEAN, "the file system has no second superblock");
}

static bool same_features(const uint8_t *super, const uint8_t *backup)
{
	uint32_t incompat = get32(super + INCOMPAT) ^ get32(backup + INCOMPAT);
	uint32_t ro_compat = get32(super + RO_COMPAT) ^ get32(backup + RO_COMPAT);

	return !(incompat & ~(uint32_t)RECOVER) &&
	       !(ro_compat & ~(uint32_t)(LARGE_FILE | DIR_NLINK | EXTRA_ISIZE | ORPHAN_PRESENT));
}

static bool same_file_system(const uint8_t *super, const uint8_t *backup)
{
	for (unsigned i = 0; i < sizeof lasting / sizeof *lasting; i++)
		if (memcmp(super + lasting[i].at, backup + lasting[i].at, lasting[i].length) != 0)
			return false;
	return get16(backup + GROUP) == 1 && same_features(super, backup) && fits(backup);
}

static int check_backup(int fd, const uint8_t *super, struct err *err)
{
	uint32_t log_size = get32(super + LOG_BLOCK_SIZE);
	uint8_t backup[SIZE];
	uint64_t block;
	int result;

	if (log_size > LOG_BLOCK_SIZE_MAX)
		return err_set(err, -EUCLEAN, "the superblock is damaged");
	block = (uint64_t)get32(super + FIRST_BLOCK) + get32(super + BLOCKS_PER_GROUP);
	result = read_at(fd, backup, block << (10 + log_size), err);
	if (result < 0)
		return result;
	if (!same_file_system(super, backup))
		return err_set(err, -EUCLEAN,
			       "the superblock is damaged, and not by half a write: its backup is "
			       "another one");
	return 0;
}

int superblock_mend(int fd, bool *ret_mended, struct err *err)
{
	uint8_t super[SIZE];
	int result = read_at(fd, super, PLACE, err);

	*ret_mended = false;
	if (result < 0)
		return result;
	if (get16(super + MAGIC) != MAGIC_EXT4 || !(get32(super + RO_COMPAT) & METADATA_CSUM) ||
	    super[CHECKSUM_TYPE] != CRC32C || fits(super))
		return 0;
	result = check_backup(fd, super, err);
	if (result < 0)
		return result;
	put32(super + CHECKSUM, checksum_of(super));
	/* The second sector alone: a cut here leaves it as it was or mended. */
	errno = EIO;
	if (pwrite(fd, super + SECTOR, SIZE - SECTOR, PLACE + SECTOR) != SIZE - SECTOR ||
	    fsync(fd) < 0)
		return err_set(err, -errno, "the superblock can not be written: %s",
			       strerror(errno));
	*ret_mended = true;
	return 0;
}
