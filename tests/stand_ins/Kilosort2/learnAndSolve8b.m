function rez = learnAndSolve8b(rez)
% One unit per channel; spikes of a unit within 1 ms are one.
    limit = str2double(getenv('STAND_IN_MAX_NT'));
    if rez.ops.NT > limit
        error('%s', ['Out of memory on device. To view more detail about available memory on the GPU, use ' ...
            '''gpuDevice()''. If the problem persists, reset the GPU by calling ''gpuDevice(1)''.']);
    end
    dead = round(rez.ops.fs / 1000);
    keep = false(size(rez.frames));
    last = -Inf(1, rez.ops.NchanTOT);
    for i = 1:numel(rez.frames)
        channel = rez.channels(i);
        if rez.frames(i) - last(channel) > dead
            keep(i) = true;
            last(channel) = rez.frames(i);
        end
    end
    rez.frames = rez.frames(keep);
    rez.channels = rez.channels(keep);
    units = numel(unique(rez.channels));
    n = rez.ops.Nbatch;
    fprintf('%2.2f sec, %d / %d batches, %d units, nspks: %2.4f, mu: %2.4f, nst0: %d, merges: %2.4f, %2.4f \n', ...
        toc, n, n, units, numel(rez.frames) / n, 20, 0, 0, 0);
    stand_in('learnAndSolve8b');
end
