/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VOLUMES_FIBER_H
#define VOLUMES_FIBER_H

#include "core/fiber.h" /* it began here */

#endif
