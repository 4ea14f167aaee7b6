function rez = splitAllClusters(rez, flag)
    stand_in('splitAllClusters');
    fprintf('Finished splitting. Found 0 splits, checked %d/%d clusters, nccg 0 \n', ...
        numel(unique(rez.channels)), numel(unique(rez.channels)));
end
