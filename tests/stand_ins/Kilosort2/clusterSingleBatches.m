function rez = clusterSingleBatches(rez)
    stand_in('clusterSingleBatches');
    fprintf('time %3.2f, pre clustered %d / %d batches \n', toc, rez.ops.Nbatch, rez.ops.Nbatch);
end
