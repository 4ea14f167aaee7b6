"""Messages of drivers, libraries, compilers, shells and batch systems that memory ran out: alternatives of a regex.

The GPU's are tried first: a text with messages of both is about the GPU.
"""

from __future__ import annotations

_HOST = r"(?:host|system|cpu|ram)\b"
_NOT_OF_THE_HOST = rf"(?:(?!{_HOST})[^\n])"
_START = (
    r"^[- \t]*(?:[\w.]*(?:Error|Exception|Warning): *)*"  # dashes of SpikeInterface's scripts, classes of exceptions
)

_COMPILER = r"(?:cc1(?:plus|obj)?|as|ld|gcc|g\+\+|c\+\+|clang\S*|nvcc|ptxas|cicc|collect2|rustc)"

_EXITED = r"\b(?:exit(?:ed|s)?|return(?:ed|s)?)[ -]?(?:with )?(?:non-zero )?(?:exit )?"

GPU = "|".join(
    (
        # PyTorch, CUDA's runtime and driver, AMD's and Apple's
        r"(?:CUDA|HIP|MPS backend|XPU|GPU|device) out of memory",
        rf"\b(?:CUDA|GPU|gpuArray|GPUassert)\b{_NOT_OF_THE_HOST}{{0,80}}?\b(?:out of|insufficient|not enough) memory\b",
        r"The CUDA error was:\s*out of memory",
        r"CUDA_(?:ERROR_)?OUT_OF_MEMORY|(?:cuda|hip)Error(?:MemoryAllocation|OutOfMemory)",
        r"torch\.(?:cuda\.)?OutOfMemoryError",
        r"cu(?:da)?(?:Malloc|MemAlloc)\w*\b[^\n]{0,60}\b(?:fail|error|out of memory)",
        r"(?:CUBLAS|CUDNN|CUSOLVER|CUSPARSE|CUFFT|CURAND)_(?:STATUS_)?ALLOC(?:ATION)?_FAILED",
        # CuPy, JAX, TensorFlow, OpenCL
        r"cupy[\w.]*OutOfMemoryError|Out of memory allocating [\d,]+ bytes \(allocated so far",
        r"^(?!.*\bcpu\b).*(?:RESOURCE_EXHAUSTED: Out of memory|ResourceExhaustedError|OOM when allocating)",
        r"CL_MEM_OBJECT_ALLOCATION_FAILURE|CL_OUT_OF_(?:RESOURCES|HOST_MEMORY)",
        # MATLAB
        r"Out of memory on (?:the )?(?:device|GPU)|Maximum variable size allowed on the device|parallel:gpu:array:OOM",
        r"Error using +(?:parallel\.gpu|gpuArray)\S*\s*\n[- \t]*(?:Out of|Not enough) memory",
        # in any words
        r"\b(?:out of|insufficient|not enough|no more) (?:free |available )?(?:GPU|device|video|graphics|CUDA) memory",
        r"\b(?:insufficient|not enough|no more) (?:free )?memory (?:left |available )?on (?:the )?(?:device|GPU)",
        r"\b(?:GPU|device) memory (?:allocation (?:failed|failure|error)|(?:is |was )?(?:exhausted|exceeded|full)\b)",
        r"\bfail(?:ed|ure|s)? (?:to|in) allocat\w+[^\n]{0,40}\b(?:GPU|device|CUDA)\b",
    )
)

HOST = "|".join(
    (
        # numpy, PyTorch on the CPU, C++, Python
        r"Unable to allocate (?:array with shape|[\d.]+ ?(?:[KMGTPE]iB|bytes))|DefaultCPUAllocator|std::bad_alloc",
        r"(?<![\w.])(?:[\w.]+\.)?_?(?:Array)?MemoryError\b|Cannot allocate memory|\bmemory allocation failed\b",
        r"RESOURCE_EXHAUSTED: Out of memory|ResourceExhaustedError|OOM when allocating",
        # MATLAB, Octave, Java
        r"Out of memory\. +Type\b.*HELP MEMORY|array exceed(?:s|ed) (?:the (?:preset )?)?maximum array size",
        r"Maximum variable size allowed by the program|out of memory or dimension too large",
        r"java\.lang\.OutOfMemoryError|OutOfMemoryError: Java|\bJava heap space\b|GC overhead limit exceeded",
        r"insufficient memory for the Java Runtime|Could not reserve enough space for [^\n]*heap",
        # compilers and linkers
        r"virtual memory exhausted|\bLLVM ERROR: out of memory|\bmemory exhausted\b",
        rf"\b{_COMPILER}(?:\.exe)?:? *(?:fatal *)?(?:error *)?: *(?:out of memory|memory allocation fail)",
        r"(?:Killed|\bkill) signal terminated program|internal (?:compiler )?error: Killed\b",
        r"unable to execute command: Killed",
        r"\bC1060\b|compiler is out of heap space|(?:terminated with|died due to) signal 9\b",
        # exit codes, shells
        rf"{_EXITED}(?:code|status|value)?s?[:= ]+(?:-9|137)(?!\d|\.\d)",
        r"died with <Signals\.SIGKILL|\{[^}\n]*SIGKILL\(-9\)",
        rf"(?<=\.sh: line )\d+: +\d+ Killed |{_START}(?-i:Killed)(?:: 9)?\s*$",
        r"\b(?:killed|terminated) by (?:the )?(?:signal (?:9\b|SIGKILL)|SIGKILL|(?:operating system|kernel|OOM)\b)",
        # kernels and batch systems
        r"\bOOM[-_ ]?Killed\b|\boom[-_]kill(?:er)?\b(?! *[:=]? *(?:0\b|disabled|score))",
        r"Out of memory: Killed? process",
        r"exceed(?:s|ed)? (?:the )?(?:requested )?(?:job |virtual |resident )?memory[ _]limit",
        r"exceeded [\d.]+% memory budget",
        r"TERM_MEMLIMIT|job killed: v?mem \d|memory usage exceeded request_memory",
        # Windows
        r"WinError (?:8|14|1450|1455)\b|paging file is too small",
        r"Not enough (?:memory|storage|quota)[^\n]{0,20} available to process",
        # in any words
        rf"{_START}(?:error: *)?out of memory[.!]?\s*$",
        rf"\b(?:out of|insufficient|not enough) (?:free |available )?(?:RAM|(?:{_HOST}|main|virtual) memory)\b",
        r"\b(?:host|system|machine|process|worker|node|kernel)\b[^\n]{0,30}\b(?:ran|runs|is|was|went) out of memory",
    )
)
