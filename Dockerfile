# pcm3 on the CPU:  docker build -t pcm3 . && docker run --rm -v "$PWD:/data" -w /data pcm3 show store
# With CUDA:        docker build -t pcm3 --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128 .
FROM python:3.12-slim AS build
WORKDIR /source
COPY . .
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /wheel

FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch
COPY --from=build /wheel /wheel
RUN pip install --no-cache-dir "$(ls /wheel/*.whl)[train,onnx]" && rm -r /wheel
RUN useradd --create-home user
USER user
ENTRYPOINT ["pcm3"]
CMD ["--help"]
