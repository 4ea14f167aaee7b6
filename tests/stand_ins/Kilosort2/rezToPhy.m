function rezToPhy(rez, folder)
% The files of Kilosort 2 that SpikeInterface reads; times and numbers count from 0.
    stand_in('rezToPhy');
    writeNPY(uint64(rez.frames(:) - 1), fullfile(folder, 'spike_times.npy'));
    writeNPY(uint32(rez.channels(:) - 1), fullfile(folder, 'spike_clusters.npy'));
    writeNPY(int32(0:rez.ops.NchanTOT - 1)', fullfile(folder, 'channel_map.npy'));
    writeNPY([rez.xcoords(:) rez.ycoords(:)], fullfile(folder, 'channel_positions.npy'));
    file = fopen(fullfile(folder, 'cluster_KSLabel.tsv'), 'w');
    fprintf(file, 'cluster_id\tKSLabel\n');
    fprintf(file, '%d\tgood\n', unique(rez.channels) - 1);
    fclose(file);
    file = fopen(fullfile(folder, 'params.py'), 'w');
    fprintf(file, 'dat_path = ''%s''\nn_channels_dat = %d\ndtype = ''int16''\noffset = 0\n', ...
        rez.ops.fbinary, rez.ops.NchanTOT);
    fprintf(file, 'sample_rate = %f\nhp_filtered = False\n', rez.ops.fs);
    fclose(file);
end
