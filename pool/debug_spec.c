/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which pools get which debug modes: a short list of rules, made from a string
 * that a kernel may have from its command line, and looked at when a pool is
 * made.  After illumos' kmem_flags and libumem's UMEM_DEBUG, by name.
 */
#include "pool/debug_impl.h"

struct rule {
    unsigned modes;
    bool prefix; /* any name that begins so */
    char name[KVA_POOL_DEBUG_NAME + 1u];
};

static struct rule rules[KVA_POOL_DEBUG_RULES];
static unsigned nrules;

static const struct {
    const char *word;
    unsigned modes;
} words[] = {
    { "redzone", KVA_POOL_REDZONE },
    { "poison", KVA_POOL_POISON },
    { "audit", KVA_POOL_AUDIT },
    { "firewall", KVA_POOL_FIREWALL },
    { "firewall-before", KVA_POOL_FIREWALL | KVA_POOL_BEFORE },
    { "quarantine", KVA_POOL_QUARANTINE },
    { "all", KVA_POOL_REDZONE | KVA_POOL_POISON | KVA_POOL_AUDIT |
                 KVA_POOL_QUARANTINE },
};

/* ---- reading --------------------------------------------------------- */

/* Bytes up to one of the two, or the end. */
static size_t
span(const char *text, char stop, char other)
{
    size_t n = 0;

    while (text[n] != '\0' && text[n] != stop && text[n] != other) {
        n++;
    }
    return n;
}

/* Is word the n bytes of text? */
static bool
is_word(const char *word, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (word[i] != text[i]) { /* its end included */
            return false;
        }
    }
    return word[n] == '\0';
}

static unsigned
modes_of(const char *text, size_t n)
{
    for (size_t i = 0; i < KVA_COUNT(words); i++) {
        if (is_word(words[i].word, text, n)) {
            return words[i].modes;
        }
    }
    return 0;
}

/* The name behind =; returns its length, or 0 and where it cannot be. */
static size_t
read_name(const char *text, struct rule *rule, size_t *wrong)
{
    size_t n = span(text, ',', '*');

    *wrong = 0;
    rule->prefix = text[n] == '*';
    if ((n == 0 && !rule->prefix) || n > KVA_POOL_DEBUG_NAME) {
        *wrong = n > KVA_POOL_DEBUG_NAME ? KVA_POOL_DEBUG_NAME : 0;
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        rule->name[i] = text[i];
    }
    rule->name[n] = '\0';
    n += rule->prefix ? 1u : 0u;
    if (text[n] != '\0' && text[n] != ',') {
        *wrong = n; /* behind a star */
        return 0;
    }
    return n;
}

/* One rule at text: its length, or 0, what is wrong, and where. */
static size_t
read_rule(const char *text, struct rule *rule, int *err, size_t *wrong)
{
    size_t n = span(text, ',', '='), name;

    *err = KVA_EINVAL;
    *wrong = 0;
    rule->modes = modes_of(text, n);
    rule->prefix = true;
    rule->name[0] = '\0';
    if (rule->modes == 0) {
        return 0;
    }
    if ((rule->modes & KVA_POOL_FIREWALL) != 0 &&
        !kva__firewall_possible_later()) {
        *err = KVA_ENOTSUP;
        return 0;
    }
    if (text[n] == '=') {
        name = read_name(text + n + 1u, rule, wrong);
        if (name == 0) {
            *wrong += n + 1u;
            return 0;
        }
        n += 1u + name;
    }
    *err = 0;
    return n;
}

int
pool_debug_set(const char *spec, size_t *where)
{
    static struct rule fresh[KVA_POOL_DEBUG_RULES];
    unsigned n = 0;
    size_t at = 0, len, wrong = 0;
    int err = KVA_CONFIG_POOL_DEBUG || spec[0] == '\0' ? 0 : KVA_ENOTSUP;

    while (err == 0 && spec[at] != '\0') {
        if (n == KVA_COUNT(fresh)) {
            err = KVA_EINVAL;
            break;
        }
        len = read_rule(spec + at, &fresh[n], &err, &wrong);
        at += err == 0 ? len : wrong;
        n++;
        if (err == 0 && spec[at] == ',') {
            at++;
            err = spec[at] == '\0' ? KVA_EINVAL : 0; /* nothing behind it */
        }
    }
    if (err != 0) {
        if (where != NULL) {
            *where = at;
        }
        return err;
    }
    for (unsigned i = 0; i < n; i++) {
        rules[i] = fresh[i];
    }
    nrules = n;
    return 0;
}

/* ---- asking ---------------------------------------------------------- */

static bool
rule_is_for(const struct rule *rule, const char *name)
{
    size_t i = 0;

    while (rule->name[i] != '\0' && rule->name[i] == name[i]) {
        i++;
    }
    return rule->name[i] == '\0' && (rule->prefix || name[i] == '\0');
}

/* Behind the firewall nothing lies while it is free, so nothing is written. */
static unsigned
modes_allowed(const struct kva_pool *pp, unsigned modes)
{
    bool kmem = pp->allocator->pa_alloc == NULL &&
                pp->allocator->arena == &kva_kmem_arena;

    if (!kmem || pp->ipl >= KVA_IPL_VM || !kva__firewall_possible() ||
        (pp->flags & KVA_PR_PADDR) != 0) {
        modes &= ~(KVA_POOL_FIREWALL | KVA_POOL_BEFORE);
    }
    if ((pp->flags & (KVA_PR_NOTOUCH | KVA_PR_USEBMAP)) != 0 &&
        (modes & KVA_POOL_FIREWALL) == 0) {
        modes &= ~(KVA_POOL_REDZONE | KVA_POOL_POISON);
    }
    /* Somebody may read what is free, and find it constructed. */
    return (pp->flags & KVA_PR_PSERIALIZE) != 0 ? 0 : modes;
}

void
kva__debug_setup(struct kva_pool *pp)
{
    unsigned modes = 0;

    for (unsigned i = 0; i < nrules; i++) {
        if (rule_is_for(&rules[i], pp->name != NULL ? pp->name : "")) {
            modes |= rules[i].modes;
        }
    }
    pp->debug = modes_allowed(pp, modes);
    if (pp->debug != 0) {
        pp->record_bytes = (pp->debug & KVA_POOL_AUDIT) != 0
                               ? sizeof(struct kva__record)
                               : offsetof(struct kva__record, event);
        pp->record_bytes = (uint16_t)kva_round_up(pp->record_bytes, 8);
    }
}

unsigned
pool_debug(const struct kva_pool *pp)
{
    return pp->debug;
}

unsigned
pool_cache_debug(pool_cache_t pc)
{
    return pc->slabs.debug;
}
