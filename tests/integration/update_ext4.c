/* SPDX-License-Identifier: Apache-2.0 */
/* granary-update for appliance_update_test.py where the kernel has no vfat: the boot partition is
 * ext4 to it; all else of it is as it is. */
#define ESP_TYPE    "ext4"
#define ESP_OPTIONS ""

#include "appliance/slot.c" /* NOLINT(bugprone-suspicious-include) */
