with recursive below(id) as (
  select unnest($1::int[])
   union
  select c.id from below b join product_category c on c.parent = b.id
)
select p.id
  from product_product p
  join product_template t on t.id = p.template
 where t.account_category in (select id from below)
    or exists (select from "product_template-product_category" tc
                where tc.template = t.id and tc.category in (select id from below))
