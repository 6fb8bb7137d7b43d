# The guest of images/kvm.py. To make its bytes:
#   as --64 -o guest.o kvm_guest.s && ld -Ttext 0x7c00 --oformat binary -o guest guest.o
# Goes to long mode, touches 48 MiB, asks the processor its name, and writes 16 to port 0xf4.
    .code16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movw $0x7000, %sp
    # address line 20
    inb $0x92, %al
    orb $2, %al
    outb %al, $0x92
    # page tables at 0x1000, 0x2000, 0x3000: the first 64 MiB in pages of 2 MiB
    cld
    movw $0x1000, %di
    xorl %eax, %eax
    movw $0x3000, %cx
    rep stosb
    movw $0x2003, 0x1000
    movw $0x3003, 0x2000
    movw $0x3000, %di
    movl $0x83, %eax
    movw $32, %cx
1:  movl %eax, (%di)
    addl $0x200000, %eax
    addw $8, %di
    loop 1b
    # PAE and SSE, long mode, paging
    movl $0x1000, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x620, %eax
    movl %eax, %cr4
    movl $0xC0000080, %ecx
    rdmsr
    orl $0x100, %eax
    wrmsr
    lgdt gdtr
    movl %cr0, %eax
    andl $0xfffffffb, %eax
    orl $0x80000003, %eax
    movl %eax, %cr0
    ljmp $8, $long
    .code64
long:
    # fill 32 MiB from 1 MiB on, copy 16 of them behind
    movl $0x100000, %edi
    movl $0x2000000, %ecx
    shrl $3, %ecx
    movq %rdi, %rax
    rep stosq
    movl $0x100000, %esi
    movl $0x2100000, %edi
    movl $0x1000000, %ecx
    shrl $3, %ecx
    rep movsq
    xorl %eax, %eax
    cpuid
    movq %rax, %xmm0
    movb $0x10, %al
    outb %al, $0xf4
2:  hlt
    jmp 2b
    .balign 8
gdt: .quad 0, 0x00209A0000000000
gdtr: .word 15
    .long gdt
    .org 510
    .word 0xaa55
