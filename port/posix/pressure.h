/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pressure on the host: an eventfd for who polls, and Linux's own pressure.
 *
 *      kva_pressure's events  ---->  eventfd                  for poll(2)
 *      /proc/pressure/memory  ---->  kva_pressure_outside     look, now and then
 *      trigger                ---->  a descriptor that polls  when to look
 *
 * The file is that of Linux's pressure stall information (PSI), or a control
 * group's memory.pressure:
 *
 *      some avg10=0.12 avg60=0.05 avg300=0.01 total=123456
 *      full avg10=0.00 avg60=0.00 avg300=0.00 total=1234
 *
 * the percent of the last 10, 60 and 300 seconds in which some tasks, or all,
 * waited for memory, and all of those microseconds.  Other words with a '=', and
 * other lines of such words, are passed over: more may come.
 *
 * A thread of the host's that feeds the levels:
 *
 *      err = kva_posix_pressure_trigger(path, "some 150000 1000000", &fd);
 *      for (;;) {
 *          (void)poll(&(struct pollfd){ fd, POLLPRI, 0 }, 1, 2000);
 *          err = kva_posix_pressure_look(&source);
 *      }
 *
 * Functions return 0 or an error, and kva_posix_last_error says why.
 */
#ifndef KVA_POSIX_PRESSURE_H
#define KVA_POSIX_PRESSURE_H

#include "port/posix/posix.h"
#include "reclaim/pressure.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- events ------------------------------------------------------------ */

/* In the owner's storage. */
struct kva_posix_pressure_events {
    int fd; /* to poll for POLLIN; read(2) gives how many events came */
    /* private */
    struct kva_pressure_listener listener;
};

/* Each event of pressure adds one to fd, an eventfd that blocks nobody; what
 * the level is kva_pressure says.  KVA_ENOMEM: Linux has no descriptor left. */
int kva_posix_pressure_open(struct kva_posix_pressure_events *ev);
void kva_posix_pressure_close(struct kva_posix_pressure_events *ev);

/* ---- pressure files ---------------------------------------------------- */

/* Longer ones are refused: room for 10 lines as long as they can get. */
#define KVA_POSIX_PSI_MAX 1024u

struct kva_posix_psi_line {
    bool there;
    unsigned avg10, avg60, avg300; /* hundredths of a percent, to 10000 */
    uint64_t total;                /* microseconds */
};

struct kva_posix_psi {
    struct kva_posix_psi_line some; /* always there */
    struct kva_posix_psi_line full; /* not in files of old kernels' */
};

/*
 * Parse len bytes of text; name is for the message, as "NAME, byte 17: expected
 * a digit, found 'x'".  KVA_EINVAL; then psi is as it was.
 */
int kva_posix_psi_parse(const char *name, const char *text, size_t len,
                        struct kva_posix_psi *psi);

/* Read a file whole, and parse it.  KVA_ENOENT: it cannot be opened; KVA_EINVAL:
 * not read, too long, or not in the format. */
int kva_posix_psi_read(const char *path, struct kva_posix_psi *psi);

/* What is looked at; all 0 but path: some, over 10 seconds. */
struct kva_posix_pressure_source {
    const char *path;
    bool full; /* the line of that name */
    enum {
        KVA_POSIX_AVG10,
        KVA_POSIX_AVG60,
        KVA_POSIX_AVG300
    } window;
};

/*
 * Look at the file, which is opened anew each time, tell kva_pressure_outside
 * of it, and listeners if there is something to be told.  With an error the
 * level stays as it is: who knows nothing says nothing.  Thread context, no lock
 * held.
 */
int kva_posix_pressure_look(const struct kva_posix_pressure_source *source);

/*
 * Have Linux wake who polls fd for POLLPRI when tasks waited as long as trigger
 * says: "some 150000 1000000" is 150 ms of a second.  close(2) ends it.
 * KVA_ENOTSUP: this kernel has no PSI; KVA_EPERM: not for us; KVA_EINVAL: not
 * such a trigger, which without CAP_SYS_RESOURCE is any whose window is not of
 * whole 2 s.
 */
int kva_posix_pressure_trigger(const char *path, const char *trigger, int *fd);

#ifdef __cplusplus
}
#endif

#endif
