function stand_in(name)
% Fail in the function `name` where the test asks for it, with Kilosort's or MATLAB's own words.
    if strcmp(getenv('STAND_IN_ERROR_AT'), name)
        fprintf('%s', getenv('STAND_IN_LOG'));
        error('%s', getenv('STAND_IN_ERROR'));
    end
end
