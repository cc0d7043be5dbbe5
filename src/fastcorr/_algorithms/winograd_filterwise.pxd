# SPDX-License-Identifier: BSD-3-Clause
"""Winograd's products with vectors along the output channels: for images of few tiles.

A block of a product has as many tiles as there are, and two vectors of filters: it waits neither
for vectors of tiles that no image fills nor for rows of w. The transformed weights of a block of
filters and a chunk of channels lie in the order of their use: [point][channel][filter].
"""

from libc.string cimport memcpy

from fastcorr._algorithms.window cimport ceil_div
from fastcorr._algorithms.winograd_tiles cimport (
    MOST_PANELS, block_start, chunk_start, job_t, next_run, run_t, task_t,
)


cdef inline Py_ssize_t vectors_of(const job_t *job, Py_ssize_t block) noexcept nogil:
    return ceil_div(block_start(job, block + 1) - block_start(job, block), job.kernel.lanes)


cdef inline void transform_filters(const job_t *job, Py_ssize_t group, Py_ssize_t block,
                                   Py_ssize_t chunk, char *u) noexcept nogil:
    """Transform the weights of a block of filters and a chunk of channels."""
    cdef Py_ssize_t item = job.kernel.item_bytes, m0 = block_start(job, block), c
    cdef Py_ssize_t nr = vectors_of(job, block) * job.kernel.lanes, row = job.channels * job.taps
    cdef const char *w = job.w + (group * job.rows + m0) * row * item
    for c in range(chunk_start(job, chunk), chunk_start(job, chunk + 1)):
        job.winograd.weights(w + c * job.taps * item, block_start(job, block + 1) - m0, row,
                             job.w_end, u, job.u_step)
        u += nr * item


cdef inline void multiply_filters(const job_t *job, const task_t *t, char *scratch) noexcept nogil:
    """All tiles times the filters of the task, through to y."""
    cdef Py_ssize_t block, chunk
    cdef const char *u
    for block in range(t.block0, t.block1):
        for chunk in range(job.n_chunks):
            if job.u == NULL:
                u = scratch + job.at_u
                transform_filters(job, t.group, block, chunk, scratch + job.at_u)
            else:
                u = job.u + ((t.group * job.n_blocks + block) * job.n_chunks + chunk) * job.u_chunk
            multiply_chunk(job, t, block, chunk, u, scratch)
        store_filters(job, t, block, scratch)


cdef inline void multiply_chunk(const job_t *job, const task_t *t, Py_ssize_t block,
                                Py_ssize_t chunk, const char *u, char *scratch) noexcept nogil:
    """Add the products of a chunk of channels to [point][tile][filter]."""
    cdef Py_ssize_t item = job.kernel.item_bytes, lanes = job.kernel.lanes
    cdef Py_ssize_t nf_bytes = vectors_of(job, block) * lanes * item
    cdef Py_ssize_t c0 = chunk_start(job, chunk), n_terms = chunk_start(job, chunk + 1) - c0
    cdef Py_ssize_t panel, n, nv, i, start, count
    cdef Py_ssize_t[MOST_PANELS] n_pieces, narrow, n_wide
    cdef int nvf = <int> vectors_of(job, block), point
    cdef const char *v
    cdef char *products = scratch + job.at_products
    for panel in range(t.n_panels):
        n = t.tiles[panel]
        n_pieces[panel] = ceil_div(n, job.kernel.filterwise_outputs[nvf])
        narrow[panel] = n // n_pieces[panel]
        n_wide[panel] = n - narrow[panel] * n_pieces[panel]
    for point in range(job.n_points):
        for panel in range(t.n_panels):
            n, nv = t.tiles[panel], t.vectors[panel]
            v = (scratch + job.at_v + panel * job.v_panel
                 + (point * job.v_step + c0 * nv * lanes) * item)
            start = 0
            for i in range(n_pieces[panel]):
                count = narrow[panel] + (i < n_wide[panel])
                job.kernel.filterwise[nvf][count](
                    n_terms, v + start * item, 1, job.offset + nv * job.chunk, u, NULL,
                    products + start * nf_bytes, chunk > 0)
                start += count
            products += n * nf_bytes
        u += job.u_step * item


cdef inline void store_filters(const job_t *job, const task_t *t, Py_ssize_t block,
                               char *scratch) noexcept nogil:
    cdef Py_ssize_t item = job.kernel.item_bytes, nvf = vectors_of(job, block)
    cdef Py_ssize_t nf = nvf * job.kernel.lanes, m0 = block_start(job, block), panel, n, lane, i
    cdef Py_ssize_t n_filters = block_start(job, block + 1) - m0
    cdef const Py_ssize_t *places = <const Py_ssize_t *> (scratch + job.at_places)
    cdef const char *products = scratch + job.at_products
    cdef char *out = scratch + job.at_out
    cdef char *bias = NULL
    cdef char *y
    cdef run_t run
    if job.bias != NULL:
        bias = scratch + job.at_bias
        memcpy(bias, job.bias + (t.group * job.rows + m0) * item, n_filters * item)
    for panel in range(t.n_panels):
        n = t.tiles[panel]
        job.winograd.output_filterwise(products, t.n_tiles * nf, n, nvf, bias, out)
        products += n * nf * item
        lane = 0
        while lane < n:
            next_run(job, t.tile0 + t.start[panel], lane, n, &run)
            y = (job.y.data + run.image * job.y.n + (t.group * job.rows + m0) * job.y.c
                 + run.row * job.mh * job.y.h + run.column * job.mw * job.y.w)
            for i in range(min(job.mh, job.oh - run.row * job.mh)):
                job.kernel.store[job.y_type](
                    out + (i * n + lane) * job.mw * nf * item, nf,
                    min(job.mw * run.n, job.ow - run.column * job.mw), n_filters, NULL,
                    y + i * job.y.h, places, job.y.c)
            lane += run.n
