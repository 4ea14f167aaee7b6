function rez = preprocessDataSub(ops)
% Read the binary as the options say, find the good channels and the threshold crossings.
    tic;
    if mod(ops.NT, 32) ~= 0
        error('NT must be a multiple of 32 + ntbuff');
    end
    map = load(ops.chanMap);
    file = fopen(ops.fbinary);
    data = fread(file, [ops.NchanTOT Inf], 'int16')';
    fclose(file);
    data = data(:, map.chanMap);
    if ops.CAR
        data = data - median(data, 2);
    end
    fprintf('Time %3.0fs. Determining good channels.. \n', toc);
    noise = median(abs(data), 1) / 0.6745;
    deep = data < ops.spkTh * noise & noise > 0;
    lowest = data <= [data(1, :); data(1:end-1, :)] & data < [data(2:end, :); data(end, :)];
    [frames, channels] = find(deep & lowest);
    [frames, order] = sort(frames);
    channels = channels(order);
    seconds = size(data, 1) / ops.fs;
    rates = accumarray(channels(:), 1, [ops.NchanTOT 1]) / seconds;
    good = rates >= ops.minfr_goodchannels;
    fprintf('found %d threshold crossings in %2.2f seconds of data \n', numel(frames), seconds);
    fprintf('found %d bad channels \n', sum(~good));
    stand_in('preprocessDataSub');
    fprintf('Time %3.0fs. Computing whitening matrix.. \n', toc);
    if ~any(good)
        error('Input to SVD must not contain NaN or Inf.');
    end
    rez.ops = ops;
    rez.ops.Nbatch = ceil(size(data, 1) / (ops.NT - ops.ntbuff));
    rez.frames = frames;
    rez.channels = channels;
    rez.xcoords = map.xcoords;
    rez.ycoords = map.ycoords;
    fclose(fopen(ops.fproc, 'w'));  % temp_wh.dat
end
