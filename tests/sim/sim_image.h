/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_SIM_IMAGE_H
#define TESTS_SIM_SIM_IMAGE_H

#include <stddef.h>
#include <stdint.h>

/* The bytes of a simulated disk: a sparse hash of 4 KiB pages over an optional parent, which
 * must not change while it has children. A child costs nothing until it is written to, which
 * is what makes tens of thousands of crash states affordable. What was never written is zero. */

#define SIM_PAGE   4096u
#define SIM_SECTOR 512u

struct sim_image {
	const struct sim_image *parent;
	struct sim_page *table; /* open addressing; data NULL = free */
	size_t size, used;      /* size: a power of two, or 0 */
};

void sim_image_init(struct sim_image *image, const struct sim_image *parent);
void sim_image_finish(struct sim_image *image);

void sim_image_read(const struct sim_image *image, uint64_t offset, void *data, size_t length);
void sim_image_write(struct sim_image *image, uint64_t offset, const void *data, size_t length);
void sim_image_zero(struct sim_image *image, uint64_t offset, size_t length);

#endif
