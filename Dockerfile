# spikelab for the CPU: RT-Sort, SpikeInterface's sorters, NWB, batches on several workers.
#
#   docker build -t spikelab .
#   docker run --rm --init -v "$PWD:/data" --user "$(id -u):$(id -g)" spikelab sort culture.raw.h5 --sorter rt_sort
#
# docs/howto/docker_and_clusters.md has a batch, and says what was tried and what was not.
FROM python:3.12-slim

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
ENV NUMBA_CACHE_DIR=/opt/cache/numba MPLCONFIGDIR=/opt/cache/matplotlib

WORKDIR /opt/spikelab
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN python -m pip install -c constraints.txt ".[spikeinterface-sorters,nwb,distributed]"

# A sort compiles the loops of RT-Sort, for the processor that it runs on, and a container would forget them each time.
# Any user may add those for another processor.
RUN spikelab demo --folder /tmp/demo --duration 20 && rm -r /tmp/demo && chmod -R a+rwX /opt/cache

WORKDIR /data
ENTRYPOINT ["spikelab"]
CMD ["--help"]
