"""`ingest doctor`: can the service work here, and if not, what is to be done?

    findings                        what is found: ok, warning or failed, in the operator's words
    machine, exchange, database     (pure) what looked-at facts mean
    look_machine, look_exchange,
    look_database                   look, and decide nothing
    examine                         all looks side by side, each with its deadline
    threads                         calls that may hang, in threads that nobody waits for

It changes nothing: what it writes it takes away again, it starts no server, makes no folder, and asks the
exchange through the budget that the service uses, or not at all while REST is banned. No finding holds a
secret.
"""
