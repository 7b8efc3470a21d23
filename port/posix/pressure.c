/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The levels of pressure on the host: out by an eventfd, in from Linux's
 * pressure stall information.  What is read is in psi.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "port/check.h"
#include "port/posix/posix_impl.h"
#include "port/posix/pressure.h"

/* ---- out ---------------------------------------------------------------- */

/* Full, after 2^64 events that nobody read, it is left as it is. */
static void
add_event(void *arg, enum kva_pressure level)
{
    const struct kva_posix_pressure_events *ev = arg;
    int error = errno;

    (void)level;
    (void)eventfd_write(ev->fd, 1);
    errno = error;
}

int
kva_posix_pressure_open(struct kva_posix_pressure_events *ev)
{
    ev->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ev->fd < 0) {
        kva__posix_error("eventfd: %s", strerror(errno));
        return KVA_ENOMEM;
    }
    ev->listener = (struct kva_pressure_listener){ .fn = add_event, .arg = ev };
    kva_pressure_listen(&ev->listener);
    return 0;
}

void
kva_posix_pressure_close(struct kva_posix_pressure_events *ev)
{
    kva_pressure_unlisten(&ev->listener);
    (void)close(ev->fd);
    ev->fd = -1;
}

/* ---- in ----------------------------------------------------------------- */

static unsigned
share(const struct kva_posix_psi_line *line, unsigned window)
{
    const unsigned avg[] = { line->avg10, line->avg60, line->avg300 };

    return avg[window];
}

int
kva_posix_pressure_look(const struct kva_posix_pressure_source *source)
{
    const struct kva_posix_psi_line *line;
    struct kva_posix_psi psi;
    int err;

    if ((err = kva_posix_psi_read(source->path, &psi)) != 0) {
        return err;
    }
    line = source->full ? &psi.full : &psi.some;
    if (!line->there) {
        kva__posix_error("%s: expected a line full, found none", source->path);
        return KVA_EINVAL;
    }
    if (kva_pressure_outside(share(line, source->window), 10000)) {
        (void)kva_pressure_tell(kva__now());
    }
    return 0;
}

/* ---- when to look ------------------------------------------------------- */

/* What Linux's refusal of a trigger means. */
static int
refusal(int error)
{
    switch (error) {
    case EINVAL:
        return KVA_EINVAL;
    case EACCES:
    case EPERM:
    case EROFS:
        return KVA_EPERM;
    default: /* ENOENT; EOPNOTSUPP where it was turned off at boot */
        return KVA_ENOTSUP;
    }
}

int
kva_posix_pressure_trigger(const char *path, const char *trigger, int *fd)
{
    int error, f = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

    /* With the 0 at its end, as Linux's own documentation has it. */
    if (f >= 0 && write(f, trigger, strlen(trigger) + 1) >= 0) {
        *fd = f;
        return 0;
    }
    error = errno;
    kva__posix_error("%s: %s: %s", path, f < 0 ? "open" : trigger,
                     strerror(error));
    if (f >= 0) {
        (void)close(f);
    }
    return refusal(error);
}
