/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_BYTES_H
#define VOLUMES_BYTES_H

#include "core/bytes.h" /* it began here */

#endif
