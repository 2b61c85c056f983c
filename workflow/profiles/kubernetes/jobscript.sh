#!/bin/sh
# properties = {properties}
export PYTHONSAFEPATH=1 # what lies beside params.yaml hides no module
[ -w "$HOME" ] || export XDG_CACHE_HOME="$PWD/.snakemake/cache"
# Kubernetes tells this shell alone to stop: it passes that on to all that runs here, of which the cell heeds it.
(trap : TERM; {exec_job}) &
trap "trap '' TERM; kill -TERM 0" TERM
wait $! || wait $! # the first wait ends when the signal comes, the second with the job
