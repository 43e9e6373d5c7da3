import tensorflow as tf

x = tf.constant([4e9, 1e9, -3e9, 0.0])


def value_and_grad(x):
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = -tf.nn.log_softmax(x / 0.7)[0]
    return value, tape.gradient(value, x)


for mode, function in {"eager": value_and_grad, "compiled": tf.function(value_and_grad, jit_compile=True)}.items():
    value, gradient = function(x)
    print(mode, value.numpy(), *gradient.numpy())
